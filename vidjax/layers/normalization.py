"""Normalisation of feature maps: local response normalisation and batch normalisation."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

NORMALIZATIONS = ("lrn", "batch", "none")


def local_response_normalization(
    x: jax.Array, *, k: float = 2.0, size: int = 5, alpha: float = 1e-4, beta: float = 0.5
) -> jax.Array:
    """Local response normalisation across channels.

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


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last; its variables are those of `nn.BatchNorm`.

    In training with `group_size` each group of so many consecutive examples has statistics of its own, wherever its
    examples are computed, as if each group were on a device of its own. Running statistics are those of the whole
    batch: the mean of the groups' means, and the mean of their variances plus the variance of their means.

    Where the collection "batch_moments" is mutable, the mean of this batch and that of its squares are put there, too:
    `mean` and `square`.

    Attributes:
      group_size: examples in a group; None: the global batch is one.
      momentum: share of the running statistics that a step keeps.
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
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises float [B, ..., C].

        Raises:
          ValueError: if the batch, or a device's part of it, does not consist of whole groups or parts of groups.
        """
        channels = x.shape[-1]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if train:
            batch, *space = x.shape[:-1]
            groups, device_groups = self._groups(batch)
            grouped = wide.reshape(groups, -1, channels)
            mean, square = grouped.mean(axis=1), jnp.square(grouped).mean(axis=1)
            if self.axis_name is not None and not self.is_initializing() and device_groups != ():
                mean, square = jax.lax.pmean((mean, square), self.axis_name, axis_index_groups=device_groups)
            var = jnp.maximum(square - jnp.square(mean), 0)
            if not self.is_initializing():
                self._record(running_mean, running_var, mean, var)
            shape = (groups,) + (1,) * (len(space) + 1) + (channels,)
            centred = wide.reshape(groups, batch // groups, *space, channels) - mean.reshape(shape)
            factor = jax.lax.rsqrt(var + self.epsilon).reshape(shape)
        else:
            centred, factor = wide - running_mean.value, jax.lax.rsqrt(running_var.value + self.epsilon)
        if self.use_scale:
            factor = factor * self.param("scale", self.scale_init, (channels,), self.param_dtype)
        bias = self.param("bias", nn.initializers.zeros_init(), (channels,), self.param_dtype)
        result = (centred * factor + bias).reshape(x.shape)
        return result.astype(self.dtype or jnp.promote_types(x.dtype, self.param_dtype))

    def _groups(self, batch: int) -> tuple[int, list[list[int]] | tuple[()] | None]:
        """How many groups the examples of this device make, and which devices share one: () if none do, None if all."""
        size = self.group_size
        if size is None or self.is_initializing():
            return 1, None
        if batch % size == 0:
            return batch // size, ()
        devices = jax.lax.axis_size(self.axis_name) if self.axis_name is not None else 1
        if size % batch or devices % (size // batch):
            raise ValueError(f"batch normalisation in groups of {size} does not fit {devices} x {batch} examples")
        shared = size // batch
        return 1, [list(range(first, first + shared)) for first in range(0, devices, shared)]

    def _record(self, running_mean: Any, running_var: Any, mean: jax.Array, var: jax.Array) -> None:
        """Updates the running statistics by those of the groups, [groups, C] each."""
        square = (var + jnp.square(mean)).mean(axis=0)
        mean = mean.mean(axis=0)
        if self.axis_name is not None and self.group_size is not None:
            mean, square = jax.lax.pmean((mean, square), self.axis_name)
        var = square - jnp.square(mean) if self.group_size is not None else var[0]
        running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
        running_var.value = self.momentum * running_var.value + (1 - self.momentum) * var
        if self.is_mutable_collection("batch_moments"):
            self.put_variable("batch_moments", "mean", mean)
            self.put_variable("batch_moments", "square", square)


class Normalization(nn.Module):
    """The "N" of a layer string, by name.

    Attributes:
      kind: "lrn" (no parameters), "batch" (statistics over batch and space) or "none".
      axis_name: device axis that batch statistics are averaged over (under `pmap` only; under `jit`
        a sharded batch has global statistics by itself).
      group_size: as in `BatchNorm`.
      momentum, epsilon: of batch normalisation.
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
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalises float [..., C]; in training batch statistics are used and recorded."""
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
