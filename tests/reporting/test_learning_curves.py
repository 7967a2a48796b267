import numpy as np
import pytest

from tests.refusals import unnamed
from tests.reporting import run_directory
from vidjax.reporting import learning_curves
from vidjax.training.metrics_line import TrainLine, ValidationLine


def log(validation, train=None, every=100):
    """Lines of a metrics log: a validation every `every` steps, two train lines for each."""
    steps = [every * (i + 1) for i in range(len(validation))]
    train = np.geomspace(2.0, 0.02, 2 * len(steps)) if train is None else train
    lines = [TrainLine(step=every * (i + 1) // 2, loss=float(loss), top1=0.5) for i, loss in enumerate(train)]
    lines += [
        ValidationLine(step=step, loss=loss, clip_top1=0.5, video_top1=0.5) for step, loss in zip(steps, validation)
    ]
    return sorted(lines, key=lambda line: (line.step, line.split))


# Of early fusion on 64 clips of 4 classes for 300 steps, validated on 8 of them.
SMALL = [1.119, 0.586, 0.768, 1.594, 0.751, 1.111, 0.902, 1.421, 1.578, 1.502, 1.569, 1.822, 1.908, 1.868, 1.926]


@pytest.mark.parametrize("losses, best", [([1.2, 1.7, 1.77], 100), ([1.4, 1.0, 1.3, 1.5], 200), (SMALL, 200)])
def test_a_validation_loss_that_rises_is_found(losses, best):
    found = learning_curves.overfitting(log(losses))
    assert found is not None
    assert (found.best_step, found.best_loss) == (best, losses[best // 100 - 1])
    assert (found.last_step, found.last_loss) == (100 * len(losses), losses[-1])
    assert found.train_losses[0] > 10 * found.train_losses[1]


@pytest.mark.parametrize(
    "losses",
    [
        [1.2, 1.77],  # two say nothing
        [2.0, 1.5, 1.2, 1.0],
        [2.0, 1.0, 1.05, 1.1],  # by a tenth
        [2.0, 1.0, 0.9, 1.6],  # one alone is no rise
        [1.0, 1.6, 1.0, 1.5],  # up and down by as much
        [1.0, 1.2, 0.8, 1.1, 0.9, 1.2, 0.85, 1.1, 0.95, 1.2, 0.9, 1.0],
        [2.1, 2.0, 1.87, 1.85, 1.65, 1.48, 1.75, 1.7, 1.84, 1.23, 1.66, 1.56],  # a lucky one
        [float("nan")] * 4,
        [],
    ],
)
def test_no_alarm_where_nothing_rises_but_noise(losses):
    assert learning_curves.overfitting(log(losses)) is None


def test_a_run_whose_training_loss_rises_too_does_not_overfit():
    assert learning_curves.overfitting(log([1.2, 1.7, 1.77], train=[2.0, 1.2, 1.2, 1.5, 1.7, 1.7])) is None
    assert learning_curves.overfitting([line for line in log([1.2, 1.7, 1.77]) if line.split != "train"]) is None


def result_of(weights, best_step):
    return run_directory.result(run_directory.predictions(["a", "b"], 4), weights=weights, best_step=best_step)


def test_the_remark_says_what_to_do():
    lines = log([1.2, 1.7, 1.77])
    remark = learning_curves.overfitting_note(result_of("last", 100), lines)
    assert not unnamed(remark, 100, 300, "validation", "1.2", "1.77")
    assert "config.train.early_stopping_patience=5" in remark and "config.train.epochs" in remark
    remark = learning_curves.overfitting_note(result_of("best", 100), lines)
    assert remark.count("100") == 2, "where the loss was lowest, and what was tested"
    remark = learning_curves.overfitting_note(result_of("best", 200), lines)
    assert not unnamed(remark, 100, 200, "config.train.monitor=loss")
    assert learning_curves.overfitting_note(result_of(None, None), log([3.0, 2.0, 1.0])) == ""
