"""What every model returns."""

from typing import Any

import flax.struct
import jax


@flax.struct.dataclass
class Output:
    """Result of a model.

    Attributes:
      logits: float [B, N, K]: N scores per example (frames, segments or positions; 1 for most models),
        K classes. How the N are averaged is the config's choice, not the model's.
      aux: further results that a loss may use (reconstructions, attention maps), by name.
    """

    logits: jax.Array
    aux: dict[str, Any] = flax.struct.field(default_factory=dict)
