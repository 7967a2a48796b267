"""Class capsules of the segments of a clip, and recurrent layers over the segments.

The plan of one of the projects that vidjax came from: what `capsule_video` knows of each class in a segment, pose and
activation of its capsule, is read in turn by LSTM cells.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import flax.linen as nn
import jax.numpy as jnp

from vidjax.layers.dropout import Dropout
from vidjax.layers.recurrent import CELLS, RecurrentLayers
from vidjax.layers.shapes import Clips, ExampleIds
from vidjax.models.capsule_video import CapsuleVideo
from vidjax.models.output import Output
from vidjax.options.declaring import Option

_WINDOW = (1, 3, 3)  # of both capsule layers: a segment is too short for windows in time


class CapsuleLstm(nn.Module):
    """`CapsuleVideo` on each segment, and the state after the last one.

    Attributes:
      num_classes: K.
      segments: S, parts of a clip of equally many frames.
      widths, types: as in `CapsuleVideo`.
      cell: a key of `CELLS`.
      hidden: units of each recurrent layer.
      layers: recurrent layers.
      dropout: between recurrent layers, and before the classifier.
      axis_name: as in `BatchNorm`.
      dtype, param_dtype: of the computation and of the parameters.
    """

    num_classes: int
    segments: Annotated[int, Option("parts of a clip, each with class capsules of its own", at_least=1)] = 4
    widths: Sequence[int] = (16, 32, 64)
    types: Annotated[int, Option("capsule types at each position, in both capsule layers", at_least=1)] = 8
    cell: Annotated[str, Option("cells over the segments", choices=tuple(CELLS))] = "lstm"
    hidden: Annotated[int, Option("units of each recurrent layer", at_least=1)] = 256
    layers: Annotated[int, Option("recurrent layers", at_least=1)] = 1
    dropout: Annotated[
        float,
        Option("probability of dropping a hidden unit before the next layer or the classifier", at_least=0, below=1),
    ] = 0.0
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, rgb: Clips, *, example_ids: ExampleIds | None = None, train: bool = False) -> Output:
        """Maps float [B, T, H, W, 3] to logits [B, 1, K].

        `aux["poses"]` are those of the class capsules, float [B, S, K, 4, 4], `aux["activations"]` [B, S, K].

        Raises:
          ValueError: if T is no multiple of the segments.
        """
        batch, frames, *size = rgb.shape
        if frames % self.segments:
            raise ValueError(f"{frames} frames are no multiple of segments={self.segments}")
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        capsules = CapsuleVideo(
            self.num_classes,
            self.widths,
            self.types,
            primary_kernel=_WINDOW,
            window=_WINDOW,
            axis_name=self.axis_name,
            **types,
            name="capsules",
        )
        output = capsules(rgb.reshape(batch * self.segments, frames // self.segments, *size), train=train)
        poses, activations = output.aux["poses"], output.logits[:, 0]
        poses = poses.reshape(batch, self.segments, *poses.shape[1:])
        activations = activations.reshape(batch, self.segments, -1)
        # A pose counts as far as its capsule is active.
        x = (poses * activations[..., None, None]).reshape(batch, self.segments, -1)
        x = jnp.concatenate([x, activations], -1)
        recurrent = RecurrentLayers(
            self.cell, self.hidden, self.layers, dropout=self.dropout, **types, name="recurrent"
        )
        _, last = recurrent(x, None, example_ids, train=train)
        last = Dropout(self.dropout, name="dropout")(last, example_ids, train=train)
        logits = nn.Dense(self.num_classes, name="classes", **types)(last)
        return Output(logits[:, None], {"poses": poses, "activations": activations})
