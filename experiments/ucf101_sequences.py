"""Recurrent layers over features of a published image network on UCF101, and what they make of shuffled frames.

  python -m vidjax weights fetch efficientnet-lite0-imagenet
  python launch.py --experiment=experiments/ucf101_sequences.py --workdir=runs/experiments/ucf101_sequences \
      --config.data.root=UCF-101 --config.data.splits=ucfTrainTestlist --config.data.allow_missing=True
  python -m vidjax collect runs/experiments/ucf101_sequences

24 runs; the features are computed once, and a run then takes seconds.
"""

from vidjax.experiment.plan import INTERVAL_COLUMNS, Experiment, Setting

_CONFIG, _WEIGHTS = "configs/cnn_lstm.py:ucf101,backbone=efficientnet_lite0", "efficientnet-lite0-imagenet"


def get_experiment():
    return Experiment(
        name="ucf101_sequences",
        title="Recurrent layers on features of frames, on UCF101 clips of 8 classes: chance 12.5%",
        axes={
            "model": {
                "conv pooling": Setting(f"{_CONFIG},cell=max", weights=_WEIGHTS),
                "GRU": Setting(f"{_CONFIG},cell=gru", weights=_WEIGHTS),
                "LSTM": Setting(_CONFIG, weights=_WEIGHTS),
                "LSTM, each frame scored": Setting(f"{_CONFIG},scored=each", weights=_WEIGHTS),
            }
        },
        overrides={"evaluate.shuffled": True},
        splits=(2, 3),
        seeds=range(3),
        columns=(*INTERVAL_COLUMNS, "shuffled_top1", "frames", "all_seconds"),
    )
