"""What every model returns."""

from typing import Any, NamedTuple

import flax.struct
import numpy as np
from jaxtyping import Float

from vidjax.layers.shapes import Array


@flax.struct.dataclass
class Output:
    """Result of a model.

    Attributes:
      logits: float [B, N, K]: N scores per example (frames, segments or positions; 1 for most models),
        K classes. How the N are averaged is the config's choice, not the model's.
      aux: further results that a loss may use (reconstructions, attention maps), by name.
    """

    logits: Float[Array, "batch positions classes"]
    aux: dict[str, Any] = flax.struct.field(default_factory=dict)


class Drawing(NamedTuple):
    """Images in rows and columns that a model offers for the report of a run.

    Attributes:
      caption: what they show, in sentences.
      images: float [rows, columns, H, W, C] in 0..1, of one channel or three.
    """

    caption: str
    images: Float[np.ndarray, "rows columns height width channels"]
