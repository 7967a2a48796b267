r"""Multiresolution (Karpathy et al. 2014, section 4.2): a fovea and a context stream of half the size, on any fusion.

python launch.py --config=configs/multires.py
    Single frame, as in the paper, on the embedded data set `motion`, a quarter of the width. 2 CPU cores: one
    minute. Gives chance (12.5%): no single frame tells a class of `motion`.

python launch.py --config=configs/multires.py:base=early_fusion
    The two streams, of 24 pixels each, on early fusion. One minute. Gives about 65% video top-1.

python launch.py --config=configs/multires.py:ucf101_small --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=2 [--config.data.allow_missing=True]
    64 -> 56 pixels. On the 176 clips of 8 classes that the tests use, 2 CPU cores: one minute;
    results: docs/results.md.

python launch.py --config=configs/multires.py:ucf101 --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=1
    178 pixels, so that each stream sees 89. Needs a GPU; not run here.

Arguments: base=single_frame|early_fusion|late_fusion|slow_fusion, streams=both|fovea|context; the clips are those
of the base's own config.
"""

from vidjax.config import presets
from vidjax.config.arguments import parse_argument

_CLIPS = {
    "single_frame": presets.single_frame_clips,
    "early_fusion": presets.spaced_frames,
    "late_fusion": presets.frame_pairs,
    "slow_fusion": presets.spaced_frames,
}


def get_config(argument=""):
    chosen = parse_argument(argument, presets.PRESETS, base=tuple(_CLIPS), streams="both")
    config = presets.data_config(chosen.preset)
    presets.fusion_recipe(config, chosen.preset)
    _CLIPS[chosen.base](config, chosen.preset)
    config.name = presets.name_of("multires", chosen)
    config.model.name = "multires"
    config.model.base = chosen.base
    config.model.streams = chosen.streams
    if chosen.preset == "ucf101":
        config.preprocessing.crop = 178
    return config
