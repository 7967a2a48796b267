"""The tables, JSON and CSV of predictions."""

import numpy as np

from vidjax.cli import prediction_output
from vidjax.inference.classifier import Prediction


def test_long_tables_are_shown_in_stretches(capsys):
    classes = ("dark", "bright")
    rows = [prediction_output.Row(float(n), 25 * n, classes[n // 60 % 2], 0.75) for n in range(150)]
    prediction = Prediction("a.mp4", classes, np.array([0.5, 0.5]), seen="150 clips")
    prediction_output.show(prediction_output.Found(prediction, rows), 1)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["0:00", "0:59", "dark", "0.7500"] in lines and ["2:00", "2:29", "dark", "0.7500"] in lines
