"""Eight ways to classify videos, and what the motion of a person adds, on UCF101 clips.

  pip install -r requirements-flow.txt -r requirements-pose.txt
  python -m vidjax weights fetch efficientnet-lite0-imagenet && python -m vidjax weights fetch i3d-kinetics400
  python launch.py --experiment=experiments/methods.py --workdir=runs/experiments/methods \
      --config.data.root=UCF-101 --config.data.splits=ucfTrainTestlist --config.data.allow_missing=True
  python -m vidjax collect runs/experiments/methods

Flow and poses are computed once, by the first run that reads them (`python -m vidjax flow` and `pose` do it before),
and so are the features of frozen backbones. "Pose + frames" and "flow + frames" average the scores of two rows. 48 runs
of seconds to a few minutes on 2 cores; --only='*-seed0' takes a part of them.
"""

from vidjax.experiment.plan import INTERVAL_COLUMNS, Experiment, Setting

_LITE0, _WEIGHTS = "configs/pretrained.py:backbone=efficientnet_lite0", "efficientnet-lite0-imagenet"
_FRAMES, _FLOW, _POSE = "frames, averaged", "optical flow", "pose + LSTM"


def get_experiment():
    return Experiment(
        name="methods",
        title="Ways to classify videos, on UCF101 clips of 8 classes: chance 12.5%",
        axes={
            "method": {
                _FRAMES: Setting(_LITE0, weights=_WEIGHTS),
                "late fusion": Setting(f"{_LITE0},fusion=late", weights=_WEIGHTS),
                "early fusion, from scratch": Setting("configs/early_fusion.py:ucf101_small"),
                "CNN + LSTM": Setting("configs/cnn_lstm.py:ucf101,backbone=efficientnet_lite0", weights=_WEIGHTS),
                _POSE: Setting("configs/pose_lstm.py:ucf101"),
                _FLOW: Setting("configs/two_stream.py:ucf101_small"),
                "SlowFast-18 small, from scratch": Setting("configs/slowfast.py:ucf101_small"),
                "3D: I3D": Setting("configs/pretrained.py:backbone=i3d", weights="i3d-kinetics400"),
            }
        },
        ensembles={"pose + frames": (_POSE, _FRAMES), "flow + frames": (_FLOW, _FRAMES)},
        splits=(2, 3),
        seeds=range(3),
        columns=(*INTERVAL_COLUMNS, "all_seconds"),
    )
