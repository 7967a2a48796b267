r"""SlowFast (Feichtenhofer et al. 2019), and the single-pathway networks that it is compared with.

python launch.py --config=configs/slowfast.py
    The embedded data set `motion`: slowfast_r18_small, 16 frames, of which the slow pathway sees 4. 20
    minutes on one CPU core. Its results: docs/results.md (chance 12.5%).

python launch.py --config=configs/slowfast.py:ucf101_small --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=2 [--config.data.allow_missing=True]
    The same network on 64 -> 56 pixels, 7 minutes on one CPU core for each split. Its results: docs/results.md.

python launch.py --config=configs/slowfast.py:kinetics --config.data.root=k400 \
    --config.data.annotations=k400/annotations --config.data.allow_missing=True
    The paper's recipe for slowfast_r50_4x16 (sections 3.4 and 4): 32 frames at stride 2, short side 256 to 320, 224
    pixels, 64 clips a step, SGD with Nesterov momentum at 0.1, half a cosine over 196 epochs with 34 of warm-up, batch
    normalization in groups of 8 clips with statistics recomputed before each evaluation; tested on 10 clips x 3 crops
    of 256 pixels. Needs 8 GPUs. Not run here; it is known to give 75.6% (8x8: 77.0%).

Argument: variant=NAME: slowfast_r50_4x16, slowfast_r50_8x8, slow_r50, fast_r50, i3d_r50, c2d_r50, slowfast_r18_small
or slow_r18_small (slowfast_r50_4x16 for the presets ucf101 and kinetics, slowfast_r18_small for the others).
"""

from vidjax.config import presets
from vidjax.config.arguments import parse_argument
from vidjax.models import slowfast

# Networks that see 8 frames at stride 8; the others see 32 at stride 2.
_EIGHT_FRAMES = ("slow_r50", "slow_r18_small", "i3d_r50", "c2d_r50")


def get_config(argument=""):
    chosen = parse_argument(argument, presets.PRESETS, variant=("", *slowfast.VARIANTS))
    config = presets.data_config(chosen.preset)
    config.name = presets.name_of("slowfast", chosen)
    if chosen.preset not in presets.LARGE:
        config.model.name = chosen.variant or "slowfast_r18_small"
        presets.small_3d_recipe(config, chosen.preset)
        if chosen.preset in presets.MOTION:
            config.train.steps = 2500
        if config.model.name == "slow_r18_small":
            # The frames that the slow pathway sees within SlowFast: the first of 16, the last, and two between.
            config.data.frames, config.data.stride = 4, 5 * (config.data.stride or 1)
        return config
    config.model.name = chosen.variant or "slowfast_r50_4x16"
    presets.length_and_views(config, chosen.preset)
    few = config.model.name in _EIGHT_FRAMES
    config.data.frames, config.data.stride = (8, 8) if few else (32, 2)
    config.batch_norm.group_size = 8
    config.batch_norm.precise_batches = 200
    if chosen.preset == "kinetics":
        presets.slowfast_recipe(config)
    else:
        presets.slowfast_views(config)
        config.data.short_side = config.data.crop = 256
        config.data.crop_position = "random"
        config.preprocessing.crop = 224
        config.preprocessing.mean, config.preprocessing.std = 114.75, 57.375
        config.evaluate.clips = 10
        config.evaluate.flip = False
    return config
