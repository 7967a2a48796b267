r"""3D residual networks of 18 layers (Tran et al. 2018): R3D, and R(2+1)D with each convolution split into two.

python launch.py --config=configs/resnet3d.py
    The embedded data set `motion`, R3D at an eighth of the paper's width, 16 frames. 12
    minutes on one CPU core (R(2+1)D: 16). Its results: docs/results.md (chance 12.5%).

python launch.py --config=configs/resnet3d.py:ucf101_small,variant=r2plus1d_18 --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=2 [--config.data.allow_missing=True]
    R(2+1)D on 64 -> 56 pixels, 12 minutes on one CPU core for each split. Its results: docs/results.md.

python launch.py --config=configs/resnet3d.py:kinetics,variant=r2plus1d_18 --config.data.root=k400 \
    --config.data.annotations=k400/annotations --config.data.allow_missing=True
    The paper's network; 16 frames of 112 pixels from a short side of 128, SGD at 0.01 for 45 epochs, the first 10 of
    them warm-up, divided by 10 at epochs 20, 30 and 40 (section 4.1). Needs several GPUs. Not run here; the paper's
    R(2+1)D of 34 layers has 72.0% on Kinetics-400 from scratch.

Argument: variant=r3d_18|r2plus1d_18 (r3d_18).
"""

from vidjax.config import presets
from vidjax.config.arguments import parse_argument


def get_config(argument=""):
    chosen = parse_argument(argument, presets.PRESETS, variant=("r3d_18", "r2plus1d_18"))
    config = presets.data_config(chosen.preset)
    config.name = presets.name_of("conv3d", chosen)  # as the file was called first; hashes cover it
    config.model.name = chosen.variant
    config.data.frames = 16
    if chosen.preset not in presets.LARGE:
        presets.small_3d_recipe(config, chosen.preset)
        config.model.width_multiplier = 0.125
        return config
    presets.length_and_views(config, chosen.preset)
    config.data.short_side = 128
    config.data.crop = 128
    config.data.crop_position = "random"
    config.preprocessing.crop = 112
    if chosen.preset == "kinetics":
        config.optimizer.name = "momentum"
        config.optimizer.learning_rate = 0.01
        config.schedule.name = "step"
        config.schedule.warmup_epochs = 10.0
        config.schedule.boundaries = (20 / 45, 30 / 45, 40 / 45)
        config.schedule.decay_rate = 0.1
        config.train.epochs = 45.0
    return config
