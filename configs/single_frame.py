r"""Single frame (Karpathy et al. 2014): one frame at random in training, scores of ten averaged in testing.

python launch.py --config=configs/single_frame.py
    The embedded data set `motion`, a quarter of the paper's width. 2 CPU cores: one minute. Gives chance
    (12.5%): no single frame tells a class of `motion`, which is what this run shows.

python launch.py --config=configs/single_frame.py:ucf101_small --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=2 [--config.data.allow_missing=True]
    64 -> 56 pixels. On the 176 clips of 8 classes that the tests use, 2 CPU cores: one minute;
    results: docs/results.md.

python launch.py --config=configs/single_frame.py:ucf101 --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=1
    Close to the paper's setting, as in early_fusion.py. Needs a GPU; not run here.

python launch.py --config=configs/single_frame.py:folder --config.data.root=FOLDER
    Your own videos, one folder per class.
"""

from vidjax.config import presets
from vidjax.config.arguments import parse_argument


def get_config(argument=""):
    chosen = parse_argument(argument, presets.PRESETS)
    config = presets.data_config(chosen.preset)
    presets.fusion_recipe(config, chosen.preset)
    presets.single_frame_clips(config, chosen.preset)
    config.name = presets.name_of("single_frame", chosen)
    config.model.name = "single_frame"
    return config
