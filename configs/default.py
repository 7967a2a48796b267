"""Early fusion on a data preset: every key at its default, for a config of your own to start from.

One grammar for arguments everywhere: `--config=configs/FILE.py:PRESET,key=value,...`, where PRESET is one of

  motion        (the default) the embedded data set: clips whose class is motion alone; trains in two minutes.
  motion_hard   two motions far apart in time: the class is which two in which order.
  ucf101        UCF101 as the paper treats it; needs a GPU.
  ucf101_small  UCF101 at a size that 2 CPU cores can train on.
  folder        your own videos, in one folder per class (--config.data.root=FOLDER), for 30 epochs.
  kinetics      Kinetics at 224 pixels, following SlowFast's recipe; needs several GPUs.

Any key can be changed on the command line: --config.optimizer.learning_rate=3e-4; --help lists them. A key set to
None is not given: the default of the chosen model, optimizer, schedule or source applies; an option that the chosen
one does not take is an error.
"""

from vidjax.config import presets
from vidjax.config.arguments import parse_argument


def get_config(argument=""):
    return presets.get_config(parse_argument(argument, (*presets.PRESETS, "mnist")).preset)
