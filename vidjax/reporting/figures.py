"""Figures of a run as SVG: learning curves, confusion matrix, per-class accuracy.

Figures have a transparent background and draw text and axes in `currentColor`, so that the same file is legible on
light and on dark pages when it is inlined; as a standalone file it is black on transparent. Text is never interpreted
as TeX or markup. matplotlib is used through its object-oriented interface: no window system, no global figure.
"""

import io
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from vidjax.evaluation import metrics as accuracies
from vidjax.training.metrics_line import MetricsLine, TrainLine, ValidationLine

_Kind = TypeVar("_Kind", TrainLine, ValidationLine)

# matplotlib does not know currentColor: this color is replaced by it on saving.
_FOREGROUND = "#010203"
TRAIN_COLOR = "#2f7fd6"
VALIDATION_COLOR = "#d9822b"
PARAMETER_COLOR = "#3d9a50"
_MATRIX_RGB = (0.18, 0.50, 0.84)
_MATRIX_ALPHA = 0.75  # of a full cell; below 1, so that the numbers in it are legible on either background
_SHOWN_OVER_TIME = 5  # classes
_STEPS_OF_TIME = (1, 1.2, 1.5, 2, 3, 6, 10)  # whole minutes, where there are many seconds
_WHOLE_SECONDS = 10.0
_MARKED_TIMES = 60  # up to so many times each is marked on the line
_COUNTS_UP_TO = 20  # classes; with more, numbers no longer fit into the cells

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vidjax",
    "font.family": "sans-serif",
    "text.parse_math": False,
    "text.color": _FOREGROUND,
    "axes.edgecolor": _FOREGROUND,
    "axes.labelcolor": _FOREGROUND,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _FOREGROUND,
    "ytick.color": _FOREGROUND,
}


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of `width` x `height` inches with one set of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without metadata, equal data give equal bytes, and the file names nobody.
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue().decode("utf-8").replace(_FOREGROUND, "currentColor")
    return text[text.index("<svg") :].encode("utf-8")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()


def _series(
    metrics: Sequence[MetricsLine], kind: type[_Kind], value: Callable[[_Kind], float | None]
) -> tuple[np.ndarray, np.ndarray]:
    """Steps [N] and values [N] of one metric of one kind of line; non-finite values become gaps."""
    chosen = [(line.step, number) for line in metrics if isinstance(line, kind) and (number := value(line)) is not None]
    steps = np.array([step for step, _ in chosen], np.float64)
    values = np.array([number for _, number in chosen], np.float64)
    return steps, np.where(np.isfinite(values), values, np.nan)


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Centered mean over up to `width` finite neighbors: [N] -> [N]."""
    kernel = np.ones(width)
    finite = np.isfinite(values)
    count = np.convolve(finite, kernel, "same")
    total = np.convolve(np.where(finite, values, 0.0), kernel, "same")
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _curve(axes: Axes, steps: np.ndarray, values: np.ndarray, color: str, label: str) -> None:
    if not len(steps):
        return
    if len(steps) <= 60:
        axes.plot(steps, values, color=color, label=label, marker="o", markersize=3, linewidth=1.5)
        return
    width = max(3, len(steps) // 40)
    axes.plot(steps, values, color=color, alpha=0.3, linewidth=0.8)
    axes.plot(
        steps,
        _running_mean(values, width),
        color=color,
        linewidth=1.8,
        label=f"{label} (moving average over {width} log lines)",
    )


def _curves(
    series: Sequence[tuple[tuple[np.ndarray, np.ndarray], str, str]],
    title: str,
    *,
    is_fraction: bool = False,
    is_logarithmic: bool = False,
) -> bytes:
    """A figure of ((steps, values), color, label) series."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(5.6, 3.4)
        for (steps, values), color, label in series:
            _curve(axes, steps, values, color, label)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(title, fontsize=11)
        axes.grid(color=_FOREGROUND, alpha=0.12)
        if is_logarithmic:
            axes.set_yscale("log")
            # Matplotlib's own labels are TeX formulas, which would be shown as source here (text.parse_math).
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        if is_fraction:
            axes.set_ylim(-0.02, 1.02)
            axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=9)
        return _svg(figure)


def curves(metrics: Sequence[MetricsLine]) -> list[bytes]:
    """The learning curves of a report as SVG files; none for an empty log, norms only if they were logged."""
    if not metrics:
        return []
    has_norms = any(isinstance(line, TrainLine) and line.gradient_norm is not None for line in metrics)
    return [loss_curves(metrics), accuracy_curves(metrics), *([norm_curves(metrics)] if has_norms else [])]


def loss_curves(metrics: Sequence[MetricsLine]) -> bytes:
    """Training and validation loss by step.

    Args:
      metrics: the lines of `metrics.jsonl`.

    Returns:
      An SVG file.
    """
    series = [
        (_series(metrics, TrainLine, lambda line: line.loss), TRAIN_COLOR, "training"),
        (_series(metrics, ValidationLine, lambda line: line.loss), VALIDATION_COLOR, "validation"),
    ]
    return _curves(series, "loss")


def accuracy_curves(metrics: Sequence[MetricsLine]) -> bytes:
    """Training clip accuracy and validation video accuracy by step, as an SVG file."""
    series = [
        (_series(metrics, TrainLine, lambda line: line.top1), TRAIN_COLOR, "training clips"),
        (_series(metrics, ValidationLine, lambda line: line.video_top1), VALIDATION_COLOR, "validation videos"),
    ]
    return _curves(series, "accuracy (top-1)", is_fraction=True)


def norm_curves(metrics: Sequence[MetricsLine]) -> bytes:
    """Norms of gradient, update and parameters by step, on a logarithmic axis, as an SVG file."""
    series = [
        (_series(metrics, TrainLine, lambda line: line.gradient_norm), TRAIN_COLOR, "gradient"),
        (_series(metrics, TrainLine, lambda line: line.update_norm), VALIDATION_COLOR, "update"),
        (_series(metrics, TrainLine, lambda line: line.parameter_norm), PARAMETER_COLOR, "parameters"),
    ]
    return _curves(series, "gradient, update and parameter norms", is_logarithmic=True)


def probabilities_over_time(
    times: Sequence[float], probabilities: np.ndarray, classes: Sequence[str], *, unit: str, title: str = ""
) -> bytes:
    """The probabilities of those classes that are highest anywhere, over the length of a video.

    Args:
      times: float [N], rising.
      probabilities: float [N, K].
      classes: the K names.
      unit: of the times, "s" or "frame".
      title: above the axes.

    Returns:
      A PNG file, black on white.
    """
    best = np.argsort(-probabilities.max(axis=0), kind="stable")[:_SHOWN_OVER_TIME]
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(9.0, 3.6)
        figure.patch.set(alpha=1, facecolor="white")
        few = len(times) <= _MARKED_TIMES
        for label in best:
            axes.plot(
                times,
                probabilities[:, label],
                label=classes[label],
                linewidth=1.5,
                marker="o" if few else "",
                markersize=3,
            )
        if unit == "s":
            axes.xaxis.set_major_locator(MaxNLocator(8, steps=_STEPS_OF_TIME))
            digits = 0 if times[-1] > _WHOLE_SECONDS else 1
            axes.xaxis.set_major_formatter(
                lambda value, _: f"{int(value) // 60}:{value % 60:0{3 + digits if digits else 2}.{digits}f}"
            )
        axes.set_xlabel("time (min:s)" if unit == "s" else unit)
        axes.set_ylabel("probability")
        axes.set_ylim(-0.02, 1.02)
        axes.set_title(title, fontsize=11, parse_math=False)
        axes.grid(color=_FOREGROUND, alpha=0.12)
        for text in figure.legend(frameon=False, fontsize=9, loc="outside right upper").get_texts():
            text.set_parse_math(False)
        return _png(figure)


def confusion_matrix(counts: np.ndarray, classes: Sequence[str]) -> bytes:
    """Confusion matrix, shaded by the fraction of each true class.

    Args:
      counts: int [K, K]; row: true class, column: predicted class.
      classes: the K names.

    Returns:
      An SVG file, with the counts in the cells for up to 20 classes.
    """
    k = len(classes)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = np.empty((k, k, 4))
    image[..., :3] = _MATRIX_RGB
    image[..., 3] = _MATRIX_ALPHA * np.sqrt(share)  # the square root makes single confusions visible
    few = k <= _COUNTS_UP_TO
    side = 2.2 + 0.5 * k if few else 1.6 + 0.135 * k
    size = 9 if few else 6
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(side + 0.4, side)
        axes.imshow(image, interpolation="none", aspect="equal")
        axes.set_xticks(range(k), classes, rotation=90, fontsize=size, parse_math=False)
        axes.set_yticks(range(k), classes, fontsize=size, parse_math=False)
        axes.set_xticks(np.arange(k + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(k + 1) - 0.5, minor=True)
        axes.grid(which="minor", color=_FOREGROUND, alpha=0.15, linewidth=0.5)
        axes.tick_params(which="both", length=0)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        if few:
            for row, column in np.argwhere(counts):
                axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=size)
        return _svg(figure)


def class_accuracy(correct: Sequence[int], videos: Sequence[int], classes: Sequence[str]) -> bytes:
    """Per-class accuracy as horizontal bars, in class order, with the mean.

    Args:
      correct: correctly classified test videos of each class.
      videos: test videos of each class; a class without any is labeled "no videos".
      classes: names.

    Returns:
      An SVG file.
    """
    accuracy = accuracies.class_accuracy(correct, videos)
    mean = accuracies.from_counts(correct, videos).mean_class_accuracy
    k = len(classes)
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(6.0, 0.8 + (0.3 if k <= _COUNTS_UP_TO else 0.17) * k)
        axes.barh(range(k), np.nan_to_num(accuracy), color=TRAIN_COLOR, height=0.7)
        size = 9 if k <= _COUNTS_UP_TO else 7
        for i, (c, n) in enumerate(zip(correct, videos, strict=True)):
            text = f"{c}/{n}" if n else "no videos"
            axes.text(1.02, i, text, va="center", fontsize=size)
        if not math.isnan(mean):
            axes.axvline(mean, color=VALIDATION_COLOR, linewidth=1.2, linestyle="--", label="mean")
            axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
        axes.set_yticks(range(k), classes, fontsize=size, parse_math=False)
        axes.set_ylim(k - 0.4, -0.6)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f}%")
        return _svg(figure)


def histogram(values: np.ndarray, label: str, title: str) -> bytes:
    """How many values there are of which size, on a logarithmic scale, since a few are often far from the others.

    Args:
      values: float [N].
      label: of the horizontal axis.
      title: of the figure.

    Returns:
      A PNG file, black on white.
    """
    with matplotlib.rc_context(_STYLE):
        figure, axes = _figure(6.0, 3.0)
        figure.patch.set(alpha=1, facecolor="white")
        axes.hist(values, bins=40, color=TRAIN_COLOR, log=True)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlim(0)
        axes.set_xlabel(label)
        axes.set_ylabel("number")
        axes.set_title(title, fontsize=11, parse_math=False)
        return _png(figure)
