"""Tran et al. 2015, "Learning Spatiotemporal Features with 3D Convolutional Networks" (ICCV): C3D.

Eight 3 x 3 x 3 convolutions and five max pools, section 3.3: 64 - pool - 128 - pool - 256 256 - pool - 512 512 - pool -
512 512 - pool - FC(4096) - FC(4096). All pools are 2 x 2 x 2 but the first, 1 x 2 x 2: time is not merged so early.
"""

import functools
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vidjax.layers.convolution import Conv
from vidjax.layers.dropout import Dropout
from vidjax.layers.normalization import NORMALIZATIONS, Normalization
from vidjax.layers.pooling import max_pool
from vidjax.layers.shapes import Clips, ExampleIds
from vidjax.models.output import Output
from vidjax.options.declaring import Option

_WIDTHS = ((64,), (128,), (256, 256), (512, 512), (512, 512))


class C3D(nn.Module):
    """C3D.

    Attributes:
      num_classes: K.
      normalization: "none" (paper), "batch" or "lrn", after each convolution.
      width_multiplier: scales filters and hidden units; 1 is the paper's.
      dropout: of the two hidden layers; the paper's fine-tuning code has 0.5.
      group_size, axis_name, dtype, param_dtype: as in `Normalization`.
    """

    num_classes: int
    normalization: Annotated[str, Option("after convolutions", choices=NORMALIZATIONS)] = "none"
    width_multiplier: Annotated[float, Option("scales filters and hidden units; 1 is the paper's", above=0)] = 1.0
    dropout: Annotated[
        float, Option("probability of dropping a hidden unit of the classifier", at_least=0, below=1)
    ] = 0.5
    group_size: int | None = None
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, rgb: Clips, *, example_ids: ExampleIds | None = None, train: bool = False) -> Output:
        """Maps float [B, T, H, W, 3] (the paper: 16 x 112 x 112) to logits [B, 1, K].

        The features of the first hidden layer (fc6) are in `aux`.
        """
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        batch = self.normalization == "batch"
        x = rgb
        for stage, widths in enumerate(_WIDTHS, start=1):
            for letter, width in zip("ab", widths, strict=False):
                name = f"{stage}{letter}"
                filters = round(width * self.width_multiplier)
                # Batch normalization would take the bias away again.
                x = Conv(filters, (3, 3, 3), use_bias=not batch, name=f"conv{name}", **types)(x)
                norm = Normalization(self.normalization, self.axis_name, self.group_size, name=f"norm{name}", **types)
                x = nn.relu(norm(x, train=train)) if batch else norm(nn.relu(x), train=train)
            window = (1, 2, 2) if stage == 1 else (2, 2, 2)
            # What is left over at the end is pooled alone, as Caffe does: 7 x 7 -> 4 x 4.
            x = max_pool(x, window, strides=window, padding="SAME")
        x = x.reshape(x.shape[0], -1)
        features: dict[str, jax.Array] = {}
        for name in ("fc6", "fc7"):
            x = nn.relu(nn.Dense(round(4096 * self.width_multiplier), name=name, **types)(x))
            features[name] = x
            x = Dropout(self.dropout, name=f"dropout_{name}")(x, example_ids, train=train)
        logits = nn.Dense(self.num_classes, name="classes", **types)(x)
        return Output(logits[:, None], {"fc6": features["fc6"]})


VARIANTS: dict[str, Any] = {
    "c3d": C3D,
    # For small machines: an eighth of the paper's width, with batch normalization.
    "c3d_small": functools.partial(C3D, normalization="batch", width_multiplier=0.125, dropout=0.2),
}
