"""Reconstructions by the decoder of a capsule network (Sabour et al. 2017, figures 3 and 4)."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from vidjax.layers.capsules import MaskedDecoder
from vidjax.layers.shapes import Array
from vidjax.models.output import Drawing, Output

OFFSETS = tuple(round(0.05 * step, 2) for step in range(-5, 6))  # the paper's
_BLOCKS_PER_LINE = 2
_NUM_DIMENSIONS = 6  # of a pose that are shown


def draw_reconstructions(
    decoder: MaskedDecoder,
    params: Any,
    output: Output,
    labels: Sequence[int],
    class_names: Sequence[str],
    channels: int,
) -> list[Drawing]:
    """Draws reconstructions, and how they change with each element of a pose.

    Args:
      decoder: of the model.
      params: the decoder's parameters.
      output: of the model on clips [B, T, H, W, 3], of which the first frame is shown, with square frames.
      labels: of the clips.
      class_names: K names.
      channels: of the reconstructed frames.
    """
    lengths, target, reconstruction = (
        np.asarray(array, np.float32)[:, 0]
        for array in (output.logits, output.aux["target"], output.aux["reconstruction"])
    )
    predicted = lengths.argmax(-1)
    examples = np.arange(len(reconstruction))
    rows = np.stack([target, *(reconstruction[examples, chosen] for chosen in (predicted, np.asarray(labels)))])
    predictions = ", ".join(
        class_names[p] if p == label else f"{class_names[p]} (is {class_names[label]})"
        for p, label in zip(predicted, labels)
    )
    caption = (
        "Top row: the frames. Middle row: reconstructions from the capsule of the predicted class. Bottom row: from"
        f" the capsule of the true class. Predicted: {predictions}."
    )
    first_of_class = {label: number for number, label in reversed(list(enumerate(labels)))}
    blocks, names = [], []
    for label, number in sorted(first_of_class.items()):
        of_classes = decode_perturbed(decoder, params, output.aux["poses"][number, 0], OFFSETS)
        blocks.append(_most_changed(np.asarray(of_classes[label], np.float32)))
        names.append(class_names[label])
    lines = "; ".join(
        ", ".join(names[start : start + _BLOCKS_PER_LINE]) for start in range(0, len(names), _BLOCKS_PER_LINE)
    )
    about = (
        f"What the elements of a pose encode. There is one block per class (line by line: {lines}). In each of its"
        f" rows, one element of the pose of the class's capsule is shifted by {OFFSETS[0]} (left) to {OFFSETS[-1]}"
        " (right)."
        f" Shown are the {blocks[0].shape[0]} elements that change the reconstruction most, in descending order."
    )
    return [
        Drawing(caption, _to_images(rows, channels)),
        Drawing(about, _to_images(_tile_blocks(blocks), channels)),
    ]


def decode_perturbed(
    decoder: MaskedDecoder, params: Any, poses: Float[Array, "classes dimension"], offsets: Sequence[float]
) -> Float[Array, "classes dimension offsets pixels"]:
    """Decodes each class capsule while one element of its pose at a time is moved (section 5.1, figure 4).

    Args:
      decoder: of the model.
      params: its parameters.
      poses: of one example, [K, dimension].
      offsets: added to one element at a time.

    Returns:
      float [K, dimension, offsets, P] in 0..1, for each class capsule alone.
    """
    dimension = poses.shape[1]
    one_at_a_time = jnp.eye(dimension)[:, None, None]
    moved = poses + jnp.asarray(offsets)[:, None, None] * one_at_a_time  # [dimension, offsets, K, dimension]
    drawn: Any = decoder.apply({"params": params}, moved.reshape(-1, *poses.shape))
    return jnp.moveaxis(drawn.reshape(dimension, len(offsets), *drawn.shape[1:]), 2, 0)


def _most_changed(
    drawn: Float[np.ndarray, "dimension offsets pixels"],
) -> Float[np.ndarray, "shown offsets pixels"]:
    """The rows of [dimension, offsets, P] that change most, in descending order."""
    change = np.abs(drawn[:, -1] - drawn[:, 0]).sum(-1)
    return drawn[np.argsort(-change)[:_NUM_DIMENSIONS]]


def _tile_blocks(
    blocks: Sequence[Float[np.ndarray, "rows columns pixels"]],
) -> Float[np.ndarray, "tiled_rows tiled_columns pixels"]:
    """Blocks of images [rows, columns, P], a few in each line, with white images between them."""
    gap = np.ones_like(blocks[0][:, :1])
    spaced = [np.concatenate([block, gap], 1) for block in blocks]
    spaced += [np.ones_like(spaced[0])] * (-len(spaced) % _BLOCKS_PER_LINE)
    lines = [
        np.concatenate(spaced[first : first + _BLOCKS_PER_LINE], 1) for first in range(0, len(spaced), _BLOCKS_PER_LINE)
    ]
    return np.concatenate([part for line in lines for part in (line, np.ones_like(line[:1]))][:-1])


def _to_images(
    numbers: Float[np.ndarray, "*axes pixels"], channels: int
) -> Float[np.ndarray, "*axes height width {channels}"]:
    """[..., H * W * C] of square images to [..., H, W, C]."""
    side = round((numbers.shape[-1] / channels) ** 0.5)
    return numbers.reshape(*numbers.shape[:-1], side, side, channels)
