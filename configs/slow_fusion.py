r"""Slow fusion (Karpathy et al. 2014): the first three convolutions fuse 10 frames step by step, to 4, 2 and 1.

python launch.py --config=configs/slow_fusion.py
    The embedded data set `motion`, a quarter of the paper's width. 2 CPU cores: two to three and a half minutes after
    making the data. Gives about 98% video top-1 (chance 12.5%).

python launch.py --config=configs/slow_fusion.py:motion_hard
    Two motions, whose order counts, more than 15 frames apart. 1000 steps, three to five minutes. Gives
    about 89%.

python launch.py --config=configs/slow_fusion.py:ucf101_small --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=2 [--config.data.allow_missing=True]
    64 -> 56 pixels. On the 176 clips of 8 classes that the tests use, 2 CPU cores: three minutes;
    results: docs/results.md.

python launch.py --config=configs/slow_fusion.py:ucf101 --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=1
    Close to the paper's setting, as in early_fusion.py. Needs a GPU; not run here. The paper's slow fusion from scratch
    has 41.3% (mean of three splits, section 5).

Arguments: frames=T, frames of a clip (10; 6, 14, 18, ... are taken too), share_columns=true|false.
"""

from vidjax.config import presets
from vidjax.config.arguments import parse_argument


def get_config(argument=""):
    chosen = parse_argument(argument, presets.PRESETS, frames=10, share_columns=True)
    config = presets.get_config(chosen.preset)
    config.name = presets.name_of("slow_fusion", chosen)
    config.model.name = "slow_fusion"
    config.model.share_columns = chosen.share_columns
    config.data.frames = chosen.frames
    return config
