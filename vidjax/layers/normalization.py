"""Normalization of feature maps: local response normalization and batch normalization."""

import dataclasses
import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Float

from vidjax.layers.shapes import Array

NORMALIZATIONS = ("lrn", "batch", "none")
_SHIFT_SAMPLE = 1 / 32  # a larger fraction costs time, a smaller one precision


@jax.named_scope("local_response_normalization")
def local_response_normalization(
    x: Float[Array, "*axes channels"], *, k: float = 2.0, size: int = 5, alpha: float = 1e-4, beta: float = 0.5
) -> Float[Array, "*axes channels"]:
    """Local response normalization across channels.

    y[..., c] = x[..., c] / (k + alpha * sum_{|c' - c| <= size // 2} x[..., c']^2) ^ beta

    The sum is not divided by `size` (as PyTorch and Caffe do).

    Args:
      x: float [..., C].
      k, alpha, beta: constants; the defaults are those of Karpathy et al. 2014, section 4.1.
      size: number of channels in the sum, odd.

    Returns:
      float [..., C].

    References:
      Krizhevsky et al. 2012, section 3.3.
    """
    radius = size // 2
    channels = x.shape[-1]
    padding = [(0, 0)] * (x.ndim - 1) + [(radius, radius)]
    squares = jnp.pad(jnp.square(x), padding)
    total = sum(squares[..., offset : offset + channels] for offset in range(size))
    return x / (k + alpha * total) ** beta


@dataclasses.dataclass(frozen=True)
class _Devices:
    """Over which devices statistics are taken.

    Attributes:
      axis_name: of the devices; None: there is one, or all is seen as on one.
      sharing: which of them have statistics in common: () for none, None for all.
    """

    axis_name: str | None
    sharing: tuple[tuple[int, ...], ...] | None

    def mean(self, values: Any) -> Any:
        """The mean over the devices that share statistics, of each array."""
        if self.axis_name is None or self.sharing == ():
            return values
        return jax.lax.pmean(values, self.axis_name, axis_index_groups=self.sharing)


_Groups = Float[Array, "groups batch positions channels"]
_OfGroups = Float[Array, "groups 1 1 channels"]
_Channels = Float[Array, " channels"]


def _wide(x: Float[Array, "*axes"]) -> Float[Array, "*axes"]:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


# Automatic differentiation takes more passes over the batch for the gradient, and SlowFast then has a quarter more
# fusions to compile.
@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _normalized(
    epsilon: float, devices: _Devices, x: _Groups, scale: _Channels | None, bias: _Channels
) -> tuple[_Groups, _OfGroups, _OfGroups]:
    """The groups, normalized by their own statistics, and these: mean and variance."""
    return _with_residuals(epsilon, devices, x, scale, bias)[0]


def _with_residuals(
    epsilon: float, devices: _Devices, x: _Groups, scale: _Channels | None, bias: _Channels
) -> tuple[tuple[_Groups, _OfGroups, _OfGroups], tuple]:
    wide = _wide(x)
    # Of each example, not of some: a batch that is split over devices stays where it is.
    sample = wide[:, :, : math.ceil(_SHIFT_SAMPLE * wide.shape[2])]
    shift = devices.mean(sample.mean(axis=(1, 2), keepdims=True))
    shifted = wide - shift
    moments = [values.mean(axis=(1, 2), keepdims=True) for values in (shifted, jnp.square(shifted))]
    offset, square = devices.mean(moments)
    var = jnp.maximum(square - jnp.square(offset), 0)
    factor = jax.lax.rsqrt(var + epsilon)
    result = (shifted - offset) * (factor if scale is None else factor * scale) + bias
    return (result, shift + offset, var), (x, shift, offset, factor, scale, bias)


def _forward(epsilon: float, devices: _Devices, x: Any, scale: Any, bias: Any) -> tuple[Any, tuple]:
    return _with_residuals(epsilon, devices, x.value, None if scale is None else scale.value, bias.value)


def _backward(epsilon: float, devices: _Devices, residuals: tuple, gradients: tuple) -> tuple[Any, Any, Any]:
    """Ioffe & Szegedy 2015, section 3. `shifted` is computed as in the forward pass, so that XLA keeps one array."""
    x, shift, offset, factor, scale, bias = residuals
    gradient, of_mean, of_var = gradients
    shifted = _wide(x) - shift
    if isinstance(gradient, SymbolicZero):
        gradient = jnp.zeros(gradient.shape, gradient.dtype)
    total, along = (values.sum(axis=(1, 2), keepdims=True) for values in (gradient, gradient * shifted))
    along = (along - offset * total) * factor  # sum of gradient * normalized value
    count = x.shape[1] * x.shape[2]
    mean, slope = devices.mean([total / count, along / count])
    of_x = (gradient - mean - (shifted - offset) * (factor * slope)) * (factor if scale is None else factor * scale)
    # The statistics are results, too; in training nothing depends on them.
    if not isinstance(of_mean, SymbolicZero):
        of_x += devices.mean(of_mean) / count
    if not isinstance(of_var, SymbolicZero):
        of_x += devices.mean(of_var) * (2 / count) * (shifted - offset)
    of_bias, of_scale = (values.sum(axis=(0, 1, 2)) for values in (total, along))
    return (
        of_x.astype(x.dtype),
        None if scale is None else of_scale.astype(scale.dtype),
        of_bias.astype(bias.dtype),
    )


_normalized.defvjp(_forward, _backward, symbolic_zeros=True)


class BatchNorm(nn.Module):
    """Batch normalization over all axes but the last; its variables are those of `nn.BatchNorm`.

    In training with `group_size`, each group of that many consecutive examples has its own statistics, on whatever
    devices its examples are, as if each group were on its own device. Running statistics are those of the whole
    batch: the mean of the groups' means, and the mean of their variances plus the variance of their means.

    Where the collection "batch_moments" is mutable, `mean` and `var` of this batch are put there, too.

    The variance is E[(x - s)^2] - E[x - s]^2, where s is the mean over a fraction of at least `_SHIFT_SAMPLE` of each
    example's positions: one pass over the batch, as with s = 0, but without cancellation in channels whose mean is far
    from zero. Since s is the mean of a fraction f of all values, (E[x] - s)^2 <= Var[x] (1 - f) / f for any values.
    In training, gradients exist in reverse mode only, and not within `jax.shard_map` where it checks varying axes.

    Attributes:
      group_size: examples in a group; None: the global batch is one.
      momentum: fraction of the running statistics that a step keeps.
      epsilon: added to the variance.
      use_scale: learn a factor per channel (gamma).
      scale_init: of gamma.
      axis_name: as in `Normalization`.
      dtype, param_dtype: of the result and of the parameters.

    References:
      Ioffe & Szegedy 2015, algorithm 1; Goyal et al. 2017, section 2.3 (groups).
    """

    group_size: int | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    use_scale: bool = True
    scale_init: Any = nn.initializers.ones_init()
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch *axes channels"], *, train: bool) -> Float[Array, "batch *axes channels"]:
        """Normalizes float [B, ..., C].

        Raises:
          ValueError: if the batch, or a device's part of it, does not consist of whole groups or parts of groups.
        """
        channels = x.shape[-1]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        scale = self.param("scale", self.scale_init, (channels,), self.param_dtype) if self.use_scale else None
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,), self.param_dtype)
        if train:
            batch = x.shape[0]
            groups, sharing = self._groups(batch)
            devices = _Devices(None if self.is_initializing() else self.axis_name, sharing)
            result, mean, var = _normalized(
                self.epsilon, devices, x.reshape(groups, batch // groups, -1, channels), scale, bias
            )
            if not self.is_initializing():
                self._record(running_mean, running_var, mean[:, 0, 0], var[:, 0, 0])
        else:
            # Stored features are keyed by the text of this class, so what they depend on is written here.
            wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
            factor = jax.lax.rsqrt(running_var.value + self.epsilon)
            result = (wide - running_mean.value) * (factor if scale is None else factor * scale) + bias
        return result.reshape(x.shape).astype(self.dtype or jnp.promote_types(x.dtype, self.param_dtype))

    def _groups(self, batch: int) -> tuple[int, tuple[tuple[int, ...], ...] | None]:
        """How many groups the examples of this device make, and which devices share one: () if none do, None if all."""
        size = self.group_size
        if size is None or self.is_initializing():
            return 1, None
        if batch % size == 0:
            return batch // size, ()
        devices = jax.lax.axis_size(self.axis_name) if self.axis_name is not None else 1
        if size % batch or devices % (size // batch):
            raise ValueError(f"batch normalization: groups of {size} do not fit {devices} x {batch} examples")
        shared = size // batch
        return 1, tuple(tuple(range(first, first + shared)) for first in range(0, devices, shared))

    def _record(
        self,
        running_mean: Any,
        running_var: Any,
        means: Float[Array, "groups channels"],
        variances: Float[Array, "groups channels"],
    ) -> None:
        """Updates the running statistics by those of the groups, [groups, C] each."""
        if self.group_size is None:
            mean, var = means[0], variances[0]
        else:
            mean = self._over_all(means.mean(axis=0))
            var = self._over_all((variances + jnp.square(means - mean)).mean(axis=0))
        running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
        running_var.value = self.momentum * running_var.value + (1 - self.momentum) * var
        if self.is_mutable_collection("batch_moments"):
            self.put_variable("batch_moments", "mean", mean)
            self.put_variable("batch_moments", "var", var)

    def _over_all(self, values: Float[Array, " channels"]) -> Float[Array, " channels"]:
        return values if self.axis_name is None else jax.lax.pmean(values, self.axis_name)


class Normalization(nn.Module):
    """The "N" of a layer string, by name.

    Attributes:
      kind: "lrn" (no parameters), "batch" (statistics over batch and space) or "none".
      axis_name: device axis that batch statistics are averaged over (under `pmap` only; under `jit`
        a sharded batch has global statistics by itself).
      group_size: as in `BatchNorm`.
      momentum, epsilon: of batch normalization.
      dtype, param_dtype: of the computation and of the parameters.
    """

    kind: str
    axis_name: str | None = None
    group_size: int | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch *axes channels"], *, train: bool) -> Float[Array, "batch *axes channels"]:
        """Normalizes float [..., C]; in training batch statistics are used and recorded."""
        if self.kind == "lrn":
            return local_response_normalization(x)
        if self.kind == "batch":
            return BatchNorm(
                self.group_size,
                momentum=self.momentum,
                epsilon=self.epsilon,
                axis_name=self.axis_name,
                dtype=self.dtype,
                param_dtype=self.param_dtype,
                name="batch",
            )(x, train=train)
        if self.kind == "none":
            return x
        raise ValueError(f"normalization {self.kind!r} is not one of {', '.join(NORMALIZATIONS)}")
