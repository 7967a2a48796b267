"""Capsules on clips, after Duarte, Rawat and Shah 2018, "VideoCapsuleNet" (NeurIPS), for classification alone.

3D convolutions - 3D primary capsules - convolutional capsules with capsule pooling - class capsules with coordinate
addition, by EM routing. Not its localization network, and at widths for small machines.
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

import flax.linen as nn
import jax.numpy as jnp

from vidjax.layers.conv_norm import ConvNorm
from vidjax.layers.matrix_capsules import ClassCaps, ConvCaps, EMRouting, PrimaryMatrixCaps
from vidjax.layers.shapes import Clips
from vidjax.models.output import Output
from vidjax.options.declaring import Option


class CapsuleVideo(nn.Module):
    """Capsule network on clips.

    The paper's has six convolutions to 512 filters and 32 types of capsules, of which the first are seen through
    3 x 9 x 9; here the convolutions are followed by batch normalization.

    Attributes:
      num_classes: K.
      widths: filters of the 3 x 3 x 3 convolutions; the first halves height and width, the second time, too.
      types: capsule types at each position, in both capsule layers.
      primary_kernel: of the primary capsules.
      window, strides: of the convolutional capsules.
      pool: as in `ConvCaps`.
      iterations: of the routing to class capsules.
      conv_iterations: of that to convolutional ones. Of pooled capsules there are hardly more than outputs, so that
        with more than 1 each output takes to one of them: with 3 the network learns far more slowly (configs/
        capsule_video.py, seed 1: 20.5% of the validation videos after 400 steps instead of 71.5%).
      inverse_temperature, relative_cost, least_variance, vote_megabytes: as in `EMRouting`.
      axis_name: as in `BatchNorm`.
      dtype, param_dtype: of the computation and of the parameters.
    """

    num_classes: int
    widths: Sequence[int] = (16, 32, 64)
    types: Annotated[int, Option("capsule types at each position, in both capsule layers", at_least=1)] = 8
    primary_kernel: Sequence[int] = (3, 3, 3)
    window: Sequence[int] = (3, 3, 3)
    strides: Sequence[int] = (1, 2, 2)
    pool: Annotated[bool, Option("average the capsules of each type in a window before they vote")] = True
    iterations: Annotated[int, Option("routing iterations of the class capsules", at_least=1)] = 2
    conv_iterations: Annotated[int, Option("routing iterations of the convolutional capsules", at_least=1)] = 1
    inverse_temperature: Annotated[float, Option("lambda of EM routing; times 1 - 0.95^t in iteration t", above=0)] = (
        1.0
    )
    relative_cost: Annotated[bool, Option("divide the cost of EM routing by an equal share of the inputs")] = True
    least_variance: Annotated[float, Option("added to variances in EM routing", above=0)] = 0.05
    vote_megabytes: Annotated[
        float | None,
        Option("megabytes of votes that routing holds at once; they are recomputed for gradients", above=0),
    ] = None
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, rgb: Clips, *, train: bool = False) -> Output:
        """Maps float [B, T, H, W, 3] to the activations of the class capsules as logits [B, 1, K].

        Their poses [B, K, 4, 4] are in `aux`.
        """
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        routing = EMRouting(
            self.iterations, self.inverse_temperature, self.relative_cost, self.least_variance, self.vote_megabytes
        )
        conv_routing = dataclasses.replace(routing, iterations=self.conv_iterations)
        x = rgb
        for number, width in enumerate(self.widths, start=1):
            strides = {1: (1, 2, 2), 2: (2, 2, 2)}.get(number, (1, 1, 1))
            norm = {"axis_name": self.axis_name}
            x = ConvNorm(width, (3, 3, 3), strides, norm=norm, name=f"conv{number}", **types)(x, train=train)
        capsules = PrimaryMatrixCaps(self.types, self.primary_kernel, name="primary_caps", **types)(x)
        capsules = ConvCaps(self.types, self.window, self.strides, self.pool, conv_routing, name="conv_caps", **types)(
            capsules
        )
        poses, activations = ClassCaps(self.num_classes, routing, name="class_caps", **types)(capsules)
        return Output(activations[:, None], {"poses": poses})
