import dataclasses
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from vidjax.reporting import figures
from vidjax.training.metrics_line import TrainLine, ValidationLine

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return ["".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def metrics(steps=300):
    lines = [TrainLine(step=step, loss=1 / step, top1=0.5, learning_rate=0.1) for step in range(1, steps)]
    return [*lines, ValidationLine(step=steps, loss=0.7, clip_top1=0.5, video_top1=0.6)]


def test_curves_show_both_splits():
    loss, accuracy = texts(figures.loss_curves(metrics())), texts(figures.accuracy_curves(metrics()))
    assert any(text.startswith("training") and "7" in text.split() for text in loss)
    assert "validation" in loss
    assert "validation videos" in accuracy
    assert "100%" in accuracy


def test_curves_of_a_run_without_validation_or_with_a_diverged_loss():
    lines = [TrainLine(step=step, loss=float("nan") if step > 5 else 1.0, top1=0.1) for step in range(1, 10)]
    assert "training" in texts(figures.loss_curves(lines))
    assert "validation" not in texts(figures.loss_curves(lines))
    assert "step" in texts(figures.loss_curves([]))


def test_norms_are_shown_where_they_were_logged():
    old = metrics(20)
    assert len(figures.curves(old)) == 2 and figures.curves([]) == []
    norms = {"gradient_norm": 3.0, "update_norm": 0.01, "parameter_norm": 50.0}
    new = [dataclasses.replace(line, **norms) if isinstance(line, TrainLine) else line for line in old]
    shown = texts(figures.curves([*old, *new])[2])
    assert {"gradient", "update", "parameters"} <= set(shown)
    assert {"0.1", "1", "10"} <= set(shown) and not any("$" in text for text in shown), "numbers, not formulas"


def test_running_mean_ignores_gaps():
    values = np.array([1.0, np.nan, 3.0, 5.0])
    np.testing.assert_allclose(figures._running_mean(values, 3), [1.0, 2.0, 4.0, 4.0])


def test_confusion_matrix_shows_counts_only_where_they_fit():
    few = texts(figures.confusion_matrix(np.diag([7, 0, 5]), ["a", "b", "c"]))
    assert "7" in few
    assert "5" in few
    assert "0" not in few
    many = texts(figures.confusion_matrix(31 * np.eye(101, dtype=int), [f"class {i}" for i in range(101)]))
    assert "class 100" in many
    assert "31" not in many


def test_class_accuracy_tells_no_video_from_no_success():
    shown = texts(figures.class_accuracy([0, 0, 3], [4, 0, 4], ["a", "b", "c"]))
    assert "0/4" in shown
    assert "no videos" in shown
    assert "3/4" in shown


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a $b$ c", "]]>", "--><x>", "$\\frac"])
def test_names_are_text(name):
    for svg in (figures.confusion_matrix(np.eye(2, dtype=int), [name, "b"]), figures.class_accuracy([1], [1], [name])):
        assert name in texts(svg), "neither markup nor TeX"
        assert b"<script" not in svg


def test_figures_are_equal_for_equal_data_and_take_the_color_of_the_page():
    svg = figures.loss_curves(metrics())
    assert svg == figures.loss_curves(metrics())
    assert b"currentColor" in svg
    assert svg.startswith(b"<svg")
    assert b"<metadata" not in svg
