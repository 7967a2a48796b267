"""Published weights with a frozen trunk: controls of pretrained_fusion, and longer clips.

  python -m vidjax weights fetch efficientnet-lite0-imagenet && python -m vidjax weights fetch i3d-kinetics400
  python launch.py --experiment=experiments/pretrained_controls.py --workdir=runs/experiments/pretrained_controls \
      --config.data.root=UCF-101 --config.data.splits=ucfTrainTestlist --config.data.allow_missing=True

With a frozen trunk and inflation by averaging, early fusion sees the mean of its frames alone: the control of trained
inflated convolutions. I3D on clips as long as in its own training has more than the 20 frames of the other table. 36
runs; the features of each row are computed once, and a run then takes seconds, with an attention pooler minutes.
"""

from vidjax.experiment.plan import INTERVAL_COLUMNS, Experiment, Setting

LITE0, I3D = "configs/pretrained.py:backbone=efficientnet_lite0", "configs/pretrained.py:backbone=i3d"
_SEGMENTS = {"data.sampling": "segments", "data.stride": None, "data.frames": 10, "data.training_views": 1}
_ONE_VIEW = {"evaluate.clips": 1, "evaluate.validation_clips": 1}
_LONG = {"data.frames": 64, "data.training_views": 1, **_ONE_VIEW}


def get_experiment():
    lite0, i3d = "efficientnet-lite0-imagenet", "i3d-kinetics400"
    return Experiment(
        name="pretrained_controls",
        title="Published weights with a frozen trunk, on UCF101 clips of 8 classes: chance 12.5%",
        axes={
            "network": {
                "EfficientNet-Lite0, early": Setting(f"{LITE0},fusion=early", weights=lite0),
                "EfficientNet-Lite0, slow": Setting(f"{LITE0},fusion=slow", weights=lite0),
                "EfficientNet-Lite0, mean of 10 frames": Setting(
                    f"{LITE0},fusion=late", overrides={**_SEGMENTS, **_ONE_VIEW}, weights=lite0
                ),
                "EfficientNet-Lite0, attention pooler": Setting(f"{LITE0},regime=attention_pooler", weights=lite0),
                "I3D, 64 frames": Setting(I3D, overrides=_LONG, weights=i3d),
                "I3D, 64 frames, attention pooler": Setting(
                    f"{I3D},regime=attention_pooler", overrides=_LONG, weights=i3d
                ),
            },
        },
        splits=(2, 3),
        seeds=range(3),
        columns=(*INTERVAL_COLUMNS, "frames", "all_seconds"),
    )
