"""What a capsule network with a decoder draws of test pictures, as pictures for the report."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vidjax.models.capsnet import CapsNet, draw_perturbed
from vidjax.models.output import Output
from vidjax.reporting import pictures

OFFSETS = tuple(round(0.05 * step, 2) for step in range(-5, 6))  # the paper's
_SCALE = 2  # pixels of the page for each of a picture
_IN_LINE = 2  # blocks
_NUMBERS = 6  # of a pose that are shown


def of_examples(
    model: CapsNet, params: Any, output: Output, labels: Sequence[int], classes: Sequence[str]
) -> list[tuple[str, bytes]]:
    """Draws reconstructions, and what the numbers of a pose stand for (Sabour et al. 2017, figures 3 and 4).

    Args:
      model: with a decoder.
      params: its parameters.
      output: of the model on clips [B, T, H, W, 3], of which the first frame is shown.
      labels: of the clips.
      classes: names.

    Returns:
      (caption, PNG file) of both.
    """
    lengths, target, drawn = (
        np.asarray(array, np.float32)[:, 0]
        for array in (output.logits, output.aux["target"], output.aux["reconstruction"])
    )
    predicted = lengths.argmax(-1)
    rows = np.stack([target, *(drawn[np.arange(len(drawn)), chosen] for chosen in (predicted, np.asarray(labels)))])
    said = ", ".join(
        classes[p] if p == label else f"{classes[p]} (is {classes[label]})" for p, label in zip(predicted, labels)
    )
    caption = (
        "Above, the pictures; in the middle, what the capsule of the predicted class draws of them; below, that of the"
        f" true class. Predicted: {said}."
    )
    first = {label: number for number, label in reversed(list(enumerate(labels)))}
    moved, named = [], []
    for label, number in sorted(first.items()):
        of_classes = draw_perturbed(model, params, output.aux["poses"][number, 0], OFFSETS)
        moved.append(_most_moved(np.asarray(of_classes[label], np.float32)))
        named.append(classes[label])
    lines = "; ".join(", ".join(named[start : start + _IN_LINE]) for start in range(0, len(named), _IN_LINE))
    about = (
        f"What a number of a pose stands for. A block for a picture of each class (line by line: {lines}); in each row"
        f" one number of its capsule's pose is moved from {OFFSETS[0]} on the left to {OFFSETS[-1]} on the right."
        f" Shown are the {moved[0].shape[0]} numbers that change the drawing most, the strongest first."
    )
    return [
        (caption, pictures.grid(_as_pictures(model, rows), _SCALE)),
        (about, pictures.grid(_as_pictures(model, _side_by_side(moved)), _SCALE)),
    ]


def _most_moved(drawn: np.ndarray) -> np.ndarray:
    """Of [dimension, offsets, P] the rows that change most, the first most."""
    change = np.abs(drawn[:, -1] - drawn[:, 0]).sum(-1)
    return drawn[np.argsort(-change)[:_NUMBERS]]


def _side_by_side(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Blocks of pictures [rows, columns, P], a few in each line, with white ones between them."""
    gap = np.ones_like(blocks[0][:, :1])
    spaced = [np.concatenate([block, gap], 1) for block in blocks]
    spaced += [np.ones_like(spaced[0])] * (-len(spaced) % _IN_LINE)
    lines = [np.concatenate(spaced[first : first + _IN_LINE], 1) for first in range(0, len(spaced), _IN_LINE)]
    return np.concatenate([part for line in lines for part in (line, np.ones_like(line[:1]))][:-1])


def _as_pictures(model: CapsNet, numbers: np.ndarray) -> np.ndarray:
    """[..., H * W * C] of square pictures to [..., H, W, C]."""
    side = round((numbers.shape[-1] / model.channels) ** 0.5)
    return numbers.reshape(*numbers.shape[:-1], side, side, model.channels)
