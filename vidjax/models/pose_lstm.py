"""Key points of a person, and a recurrent network over the frames.

Dense layer, two layers of LSTM cells and the state after the last frame, on the key points of an off-the-shelf
detector, as in several public projects on action recognition by 2D poses. Normalized by the body's center and size.
"""

from typing import Annotated, Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float

from vidjax.layers.dropout import Dropout
from vidjax.layers.recurrent import CELLS, RecurrentLayers
from vidjax.layers.shapes import Array, ExampleIds
from vidjax.models.output import Output
from vidjax.options.declaring import Option

NORMALIZED = ("clip", "frame", "none")
SCORED = ("last", "mean", "each")
_SMALLEST = 1e-3  # size of a body, in sides of the picture


class PoseLstm(nn.Module):
    """Joints of each frame, a dense layer, recurrent layers, and a classifier.

    Attributes:
      num_classes: K.
      normalized: "clip": joints minus their mean over the whole clip, divided by their size (root mean square distance
        from it), which keeps how the body moves; "frame": by mean and size of each frame by itself; "none": places in
        the picture.
      body: whether mean and size of the body are given besides, in relation to those of the clip.
      velocities: whether the differences to the frame before are given besides.
      confidence: whether the confidence of each joint is given besides.
      units: of the dense layer with ReLU on each frame.
      cell: a key of `CELLS`.
      hidden: units of each recurrent layer and direction.
      layers: recurrent layers.
      bidirectional: whether each layer also reads the sequence from its end.
      scored: "last": the state after the last frame in which somebody is found; "mean": the mean of all states; "each":
        every state by itself, N = T.
      dropout: of the dense layer's output, between recurrent layers, and before the classifier.
      dtype, param_dtype: of the computation and of the parameters.
    """

    num_classes: int
    normalized: Annotated[str, Option("by the body in the whole clip, in each frame, or not", choices=NORMALIZED)] = (
        "clip"
    )
    body: Annotated[bool, Option("mean and size of the body are inputs, too")] = True
    velocities: Annotated[bool, Option("differences to the frame before are inputs, too")] = False
    confidence: Annotated[bool, Option("the confidence of each joint is an input, too")] = True
    units: Annotated[int, Option("units of the dense layer on each frame", at_least=1)] = 64
    cell: Annotated[str, Option("cells over time", choices=tuple(CELLS))] = "lstm"
    hidden: Annotated[int, Option("units of each recurrent layer and direction", at_least=1)] = 64
    layers: Annotated[int, Option("recurrent layers", at_least=1)] = 2
    bidirectional: Annotated[bool, Option("each recurrent layer reads in both directions")] = False
    scored: Annotated[
        str, Option("the state after the last frame, the mean of all states, or each of them", choices=SCORED)
    ] = "mean"
    dropout: Annotated[
        float, Option("probability of dropping a unit of the dense layer or a hidden one", at_least=0, below=1)
    ] = 0.0
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        pose: Float[Array, "batch time joints 3"],
        *,
        pose_mask: Bool[Array, "batch time joints"] | None = None,
        example_ids: ExampleIds | None = None,
        train: bool = False,
    ) -> Output:
        """Maps joints [B, T, J, 3] (x, y, confidence) to logits [B, N, K]: N = T where each state is scored, else 1.

        pose_mask: joints that are there; None: all. Frames without any leave the state as it is.
        `aux["features"]` are what the recurrent layers read, float [B, T, units].
        """
        present = jnp.ones(pose.shape[:3], bool) if pose_mask is None else pose_mask
        is_there = present.any(-1)
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = self._numbers(pose, present, is_there)
        x = nn.relu(nn.Dense(self.units, name="joints", **types)(x))
        features = x
        x = Dropout(self.dropout, name="joints_dropout")(x, example_ids, train=train)
        recurrent = RecurrentLayers(
            self.cell, self.hidden, self.layers, self.bidirectional, self.dropout, **types, name="recurrent"
        )
        states, last = recurrent(x, is_there, example_ids, train=train)
        if self.scored == "last":
            states = last[:, None]
        elif self.scored == "mean":
            count = jnp.maximum(is_there.sum(1), 1)[:, None, None]
            states = jnp.where(is_there[..., None], states, 0).sum(1, keepdims=True) / count
        states = Dropout(self.dropout, name="dropout")(states, example_ids, train=train)
        return Output(nn.Dense(self.num_classes, name="classes", **types)(states), {"features": features})

    def _numbers(
        self, pose: Float[Array, "batch time joints 3"], present: Array, is_there: Array
    ) -> Float[Array, "batch time numbers"]:
        """What the dense layer reads of each frame; 0 for what is missing."""
        places = jnp.where(present[..., None], pose[..., :2], 0)
        center, size = _body(places, present, axes=(2,))
        of_clip, clip_size = _body(places, present, axes=(1, 2))
        by = {"frame": (center, size), "clip": (of_clip, clip_size)}.get(self.normalized)
        if by is not None:
            places = jnp.where(present[..., None], (places - by[0]) / by[1], 0)
        parts = [places]
        if self.velocities:
            both = present[:, 1:] & present[:, :-1]
            moved = jnp.where(both[..., None], places[:, 1:] - places[:, :-1], 0)
            parts.append(jnp.pad(moved, ((0, 0), (1, 0), (0, 0), (0, 0))))
        if self.confidence:
            parts.append(jnp.where(present, pose[..., 2], 0)[..., None])
        numbers = [part.reshape(*part.shape[:2], -1) for part in parts]
        if self.body:
            body = jnp.concatenate([(center - of_clip) / clip_size, jnp.log(size / clip_size)], -1)[:, :, 0]
            numbers.append(jnp.where(is_there[..., None], body, 0))
        return jnp.concatenate(numbers, -1)


def _body(
    places: Float[Array, "batch time joints 2"], present: Bool[Array, "batch time joints"], axes: tuple[int, ...]
) -> tuple[Float[Array, "batch frames 1 2"], Float[Array, "batch frames 1 1"]]:
    """Mean of the joints that are there, and their root mean square distance from it."""
    there = present[..., None]
    count = jnp.maximum(there.sum(axes, keepdims=True), 1)
    center = places.sum(axes, keepdims=True) / count
    apart = jnp.where(there, places - center, 0)
    size = jnp.sqrt(jnp.square(apart).sum((*axes, 3), keepdims=True) / count + _SMALLEST**2)
    return center, size
