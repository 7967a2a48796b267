"""A 3D convolution with batch normalization and ReLU: the building block of 3D networks."""

from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Float

from vidjax.layers.convolution import Conv
from vidjax.layers.normalization import BatchNorm
from vidjax.layers.shapes import Array

Triple = tuple[int, int, int]

# He et al. 2015, in the variant of the 3D ResNets: the variance that the gradient keeps.
KAIMING_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ConvNorm(nn.Module):
    """Convolution without bias, batch normalization, ReLU.

    Attributes:
      features: output channels.
      kernel: extent in time, height and width.
      strides: likewise.
      padding: "same" (half the kernel on both sides, as in PyTorch models) or what `nn.Conv` takes.
      relu: whether a ReLU follows.
      zero_scale: initialize gamma to 0, so that a residual block starts as the identity (Goyal et al. 2017,
        section 5.1).
      kernel_init: of the convolution.
      norm: options of `BatchNorm`, by name.
      dtype, param_dtype: of the computation and of the parameters.
    """

    features: int
    kernel: Triple
    strides: Triple = (1, 1, 1)
    padding: Any = "same"
    relu: bool = True
    zero_scale: bool = False
    kernel_init: Any = KAIMING_FAN_OUT
    norm: Any = None
    dtype: Any = None
    param_dtype: Any = jax.numpy.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *spatial channels"], *, train: bool
    ) -> Float[Array, "batch *out_spatial {self.features}"]:
        """Maps float [B, *spatial, C] to [B, *spatial', features]; space is [T, H, W] in the models."""
        padding = [(k // 2, k // 2) for k in self.kernel] if self.padding == "same" else self.padding
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = Conv(
            self.features,
            self.kernel,
            self.strides,
            padding,
            use_bias=False,
            kernel_init=self.kernel_init,
            name="conv",
            **types,
        )(x)
        options = {**types, **(self.norm or {})}
        if self.zero_scale:
            options["scale_init"] = nn.initializers.zeros_init()
        x = BatchNorm(name="norm", **options)(x, train=train)
        return nn.relu(x) if self.relu else x
