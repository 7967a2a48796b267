r"""Late fusion (Karpathy et al. 2014): two frames exactly 15 apart, a tower for each, met by the first dense layer.

python launch.py --config=configs/late_fusion.py
    The embedded data set `motion`, a quarter of the paper's width. 2 CPU cores: one minute after making the data.
    Gives about 82% video top-1 (chance 12.5%).

python launch.py --config=configs/late_fusion.py:ucf101_small --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=2 [--config.data.allow_missing=True]
    64 -> 56 pixels. On the 176 clips of 8 classes that the tests use, 2 CPU cores: one minute;
    results: docs/results.md.

python launch.py --config=configs/late_fusion.py:ucf101 --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=1
    Close to the paper's setting, as in early_fusion.py. Needs a GPU; not run here.

Arguments: fuse_at=features|scores, fusion=concatenate|average|max, share_towers=true|false. The frames stay 15
apart also where a preset or --config.data.frames says otherwise for other networks.
"""

from vidjax.config import presets
from vidjax.config.arguments import parse_argument


def get_config(argument=""):
    options = {"fuse_at": "features", "fusion": "concatenate", "share_towers": True}
    chosen = parse_argument(argument, presets.PRESETS, **options)
    config = presets.data_config(chosen.preset)
    presets.fusion_recipe(config, chosen.preset)
    presets.frame_pairs(config, chosen.preset)
    config.name = presets.name_of("late_fusion", chosen)
    config.model.name = "late_fusion"
    for key in options:
        config.model[key] = getattr(chosen, key)
    return config
