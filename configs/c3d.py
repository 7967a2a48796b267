r"""C3D (Tran et al. 2015): eight 3 x 3 x 3 convolutions.

python launch.py --config=configs/c3d.py
    The embedded data set `motion`, an eighth of the paper's width, batch normalization, 16 frames at stride 1. 10
    minutes on one CPU core. Its results: docs/results.md (chance 12.5%).

python launch.py --config=configs/c3d.py:ucf101_small --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=2 [--config.data.allow_missing=True]
    The same network on 64 -> 56 pixels, 7 minutes on one CPU core for each split. Its results: docs/results.md.

python launch.py --config=configs/c3d.py:ucf101 --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=1
    The paper's network and recipe for UCF101: frames of 128 x 171, of which 112 x 112 are cut, batch 30, SGD at 0.003,
    divided by 10 every 4 of 16 epochs (section 3.2). Needs a GPU. Not run here. The preset kinetics has the same
    recipe, which is none of the paper's for that data. From scratch Carreira & Zisserman 2017
    give a C3D-like network 51.6% (split 1, their table 2).

Argument: variant=c3d|c3d_small (c3d for the preset ucf101 and kinetics, c3d_small for the others).
"""

from vidjax.config import presets
from vidjax.config.arguments import parse_argument


def get_config(argument=""):
    chosen = parse_argument(argument, presets.PRESETS, variant=("", "c3d", "c3d_small"))
    config = presets.data_config(chosen.preset)
    config.name = presets.name_of("c3d", chosen)
    config.data.frames = 16
    if chosen.preset not in presets.LARGE:
        config.model.name = chosen.variant or "c3d_small"
        presets.small_3d_recipe(config, chosen.preset)
        return config
    config.model.name = chosen.variant or "c3d"
    presets.length_and_views(config, chosen.preset)
    config.data.short_side = 128
    config.data.crop = 128
    config.data.crop_position = "random"
    config.preprocessing.crop = 112
    config.optimizer.name = "momentum"
    config.optimizer.learning_rate = 3e-3
    config.schedule.name = "step"
    config.schedule.decay_every_epochs = 4.0
    config.schedule.decay_rate = 0.1
    config.train.batch_size = 30
    config.train.epochs = 16.0
    return config
