"""Shapes that many signatures share, as jaxtyping writes them; checked under pytest alone (`tests/shape_checks.py`).

Within a call every axis name stands for one length: arguments and result that name `batch` have the same.
"""

from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    from jax import Array
else:
    Array = jax.Array | np.ndarray  # NumPy's arrays may be passed, too

Clips = Float[Array, "batch time height width channels"]
FeatureMaps = Float[Array, "batch out_time out_height out_width features"]
ExampleIds = Int[Array, " batch"]
