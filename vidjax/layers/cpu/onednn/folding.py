"""Convolutions of few features, as convolutions of more: adjacent steps along the first axis are computed as features.

oneDNN computes as many features at a time as a vector register holds, such as 16. A convolution of 4 features is
computed four steps at a time then, with a kernel of four shifted copies of the given one. Those copies are padded by
zeros, which makes more products, but all of the register is used.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from vidjax.layers.cpu.onednn.plans import Request
from vidjax.layers.shapes import Array

Compute = Callable[[Request, jax.Array, jax.Array], jax.Array]  # what a request says, of its operands

_MIN_PRODUCTS, _MIN_PRODUCTS_OF_EACH = 1 << 23, 100  # of a convolution, and of a number of it, that is worth the copies


@dataclasses.dataclass(frozen=True)
class Folding:
    """A convolution, several steps of whose result are computed as features.

    Attributes:
      request: the given convolution.
      steps: adjacent steps along the first axis that become features.
    """

    request: Request
    steps: int

    @property
    def folded(self) -> Request:
        """The convolution that is computed instead."""
        given, geometry = self.request, self.request.geometry
        stride, features = geometry.strides[0], self.steps * given.kernel[-1]
        return dataclasses.replace(
            given,
            geometry=dataclasses.replace(geometry, strides=(stride * self.steps, *geometry.strides[1:])),
            kernel=(given.kernel[0] + stride * (self.steps - 1), *given.kernel[1:-1], features),
            y=(given.y[0], given.y[1] // self.steps, *given.y[2:-1], features),
        )

    def compute(
        self, compute: Compute, x: Float[Array, "n *spatial channels"], other: Float[Array, "..."]
    ) -> Float[Array, "..."]:
        """The result of the given request, of the input and either the kernel or the gradient of the result."""
        if self.request.computed == "y":
            return self._unfold_y(compute(self.folded, x, self._fold_kernel(other)))
        return self._unfold_kernel(compute(self.folded, x, self._fold_y(other)))

    def _fold_kernel(self, kernel: jax.Array) -> jax.Array:
        """[extent, ..., C, F] -> [extent + stride * (steps - 1), ..., C, steps * F]."""
        last, no = self.request.geometry.strides[0] * (self.steps - 1), ((0, 0),) * (kernel.ndim - 1)
        starts = range(0, last + 1, self.request.geometry.strides[0])
        return jnp.concatenate([jnp.pad(kernel, ((start, last - start), *no)) for start in starts], -1)

    def _unfold_kernel(self, kernel: jax.Array) -> jax.Array:
        """The gradient of a kernel, from that of what it was folded to."""
        extent, stride = self.request.kernel[0], self.request.geometry.strides[0]
        parts = jnp.split(kernel, self.steps, -1)
        return sum((part[stride * n :][:extent] for n, part in enumerate(parts[1:], 1)), parts[0][:extent])

    def _fold_y(self, y: jax.Array) -> jax.Array:
        """[N, T, ..., F] -> [N, T / steps, ..., steps * F]."""
        apart = y.reshape(y.shape[0], -1, self.steps, *y.shape[2:])
        return jnp.moveaxis(apart, 2, -2).reshape(self.folded.y)

    def _unfold_y(self, y: jax.Array) -> jax.Array:
        """[N, T / steps, ..., steps * F] -> [N, T, ..., F]."""
        apart = y.reshape(*y.shape[:-1], self.steps, -1)
        return jnp.moveaxis(apart, -2, 2).reshape(self.request.y)


@dataclasses.dataclass(frozen=True)
class Turned:
    """The gradient of an input of few channels, as a convolution of few features: by the kernel turned around.

    Attributes:
      request: the given gradient, of a convolution whose strides are 1.
    """

    request: Request

    @property
    def turned(self) -> Request:
        """The convolution that is computed instead."""
        given, geometry = self.request, self.request.geometry
        reach = [step * (extent - 1) for step, extent in zip(geometry.dilation, given.kernel)]
        padding = tuple((n - before, n - after) for n, (before, after) in zip(reach, geometry.padding))
        kernel = (*given.kernel[:-2], given.kernel[-1], given.kernel[-2])
        return Request("y", dataclasses.replace(geometry, padding=padding), given.y, kernel, given.x)

    def compute(
        self,
        compute: Compute,
        kernel: Float[Array, "*extent channels features"],
        gradient: Float[Array, "n *out_spatial features"],
    ) -> Float[Array, "n *spatial channels"]:
        """The result of the given request."""
        turned = jnp.flip(kernel, range(kernel.ndim - 2)).swapaxes(-2, -1)
        return compute(self.turned, gradient, turned)


def in_another_form(request: Request, width: int) -> Folding | Turned | None:
    """How to compute a convolution or one of its gradients faster; None if that is as it is.

    Args:
      request: what is to be computed.
      width: float32 numbers that a vector register holds.
    """
    geometry = request.geometry
    if geometry.groups != 1 or geometry.dilation[0] != 1 or request.kernel[0] == 1 or request.products < _MIN_PRODUCTS:
        return None
    if request.computed == "x":
        turned = Turned(request)
        is_possible = set(geometry.strides) == {1} and min(min(pair) for pair in turned.turned.geometry.padding) >= 0
        return turned if is_possible and in_another_form(turned.turned, width) else None
    if math.prod(request.kernel[:-1]) < _MIN_PRODUCTS_OF_EACH:
        return None
    length, features = request.y[1], request.kernel[-1]
    steps = max((n for n in (1, 2, 4, 8, 16) if n * features <= width and length % n == 0), default=1)
    return Folding(request, steps) if steps > 1 else None
