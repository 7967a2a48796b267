"""Recurrent layers over features of frames on the embedded data set, beside the same features without an order.

  python launch.py --experiment=experiments/sequences.py --workdir=runs/experiments/sequences
  python -m vidjax collect runs/experiments/sequences

18 runs of a few minutes each on 2 cores; --only='*-seed0' takes a part of them.
"""

from vidjax.experiment.plan import INTERVAL_COLUMNS, Experiment, Setting

_CONFIG = "configs/cnn_lstm.py"


def get_experiment():
    return Experiment(
        name="sequences",
        title="CNN and recurrent layers on motion: 8 classes, chance 12.5%",
        axes={
            "model": {
                "single frame": Setting("configs/single_frame.py"),
                "conv pooling": Setting(f"{_CONFIG}:cell=max"),
                "RNN": Setting(f"{_CONFIG}:cell=rnn"),
                "GRU": Setting(f"{_CONFIG}:cell=gru"),
                "LSTM": Setting(_CONFIG),
                "LSTM, both directions": Setting(_CONFIG, overrides={"model.bidirectional": True}),
            }
        },
        seeds=range(3),
        columns=(*INTERVAL_COLUMNS, "seconds"),
    )
