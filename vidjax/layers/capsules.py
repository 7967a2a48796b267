"""Capsules whose pose is a vector; its length is the probability that the entity it represents is present.

Sabour, Frosst and Hinton 2017, "Dynamic Routing Between Capsules" (NeurIPS).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import export
from jaxtyping import Float

from vidjax.layers.convolution import Conv
from vidjax.layers.shapes import Array

_CACHE_MEGABYTES = 1.0  # size of a block of votes that stays in a CPU's cache
_MEGABYTE = 1 << 20


def lengths(poses: Float[Array, "*axes dimension"]) -> Float[Array, "*axes"]:
    """Euclidean lengths over the last axis, in at least float32; the gradient at zero is zero."""
    poses = poses.astype(jnp.promote_types(poses.dtype, jnp.float32))
    squared = jnp.square(poses).sum(-1)
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def squash(vectors: Float[Array, "*axes dimension"]) -> Float[Array, "*axes dimension"]:
    """Shrinks vectors over the last axis to lengths below 1: |s|^2 / (1 + |s|^2) * s / |s| (equation 1).

    Computed in at least float32 and rounded to the type of `vectors`; the squares must not overflow.
    """
    length = lengths(vectors)[..., None]
    return (vectors * (length / (1 + jnp.square(length)))).astype(vectors.dtype)


def route(
    inputs: Float[Array, "batch inputs pose"],
    kernel: Float[Array, "inputs pose outputs dimension"],
    iterations: int,
    *,
    block_size: int | None = None,
    remat: bool = False,
    detach: bool = False,
) -> Float[Array, "batch outputs dimension"]:
    """Routing by agreement (procedure 1) from I capsules to J.

    A vote is a linear map of an input, so that sums of votes by coupling, and products of votes with an output, are
    matrix products of the inputs by coupling, and of the output, with the kernel. The votes [B, I, J, D] themselves
    are never formed: the largest arrays have B * J * P elements per input of a block, and an iteration makes two of
    them. Gradients pass through all iterations unless these are detached. Logits start at zero; they are not
    parameters.

    Args:
      inputs: float [B, I, P].
      kernel: float [I, P, J, D], of the same type.
      iterations: at least 1; 1 is a sum of votes in equal shares.
      block_size: number of inputs that are processed at once; None: all.
      remat: recompute these arrays for the gradient instead of storing them.
      detach: treat the last iteration's couplings as constants: gradients pass only through its sum of votes.

    Returns:
      float [B, J, D], squashed. Sums are in at least float32.

    Raises:
      ValueError: if `iterations` is below 1.
    """
    if iterations < 1:
        raise ValueError(f"iterations={iterations}: routing needs at least 1")
    count, size, outputs, dimension = kernel.shape
    batch = inputs.shape[0]
    block_size = min(block_size or count, count)
    blocks = -(-count // block_size)
    wide = jnp.promote_types(inputs.dtype, jnp.float32)
    # With equal shares, one matrix product to all outputs.
    flat = kernel.reshape(count * size, outputs * dimension)
    total = jnp.matmul(inputs.reshape(batch, -1), flat, preferred_element_type=wide) / outputs
    pose = squash(total.reshape(batch, outputs, dimension).swapaxes(0, 1))  # [J, B, D]

    # The last block is padded with zero inputs, whose votes are zero.
    more = blocks * block_size - count
    kernel = jnp.pad(kernel, ((0, more), (0, 0), (0, 0), (0, 0))).reshape(blocks, block_size, size, outputs, dimension)
    kernel = kernel.transpose(0, 3, 2, 1, 4).reshape(blocks, outputs, size * block_size, dimension)
    inputs = jnp.pad(inputs, ((0, 0), (0, more), (0, 0))).reshape(batch, blocks, block_size, size)
    inputs = inputs.transpose(1, 0, 3, 2)
    logits = jnp.zeros((blocks, outputs, batch, block_size), wide)
    still: Callable[[jax.Array], jax.Array] = jax.lax.stop_gradient if detach else lambda x: x

    def of_block(pose: jax.Array, block: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        x, maps, logit = block  # [B, P, I], [J, P * I, D], [J, B, I]
        # The agreement of an input's vote with an output is the product of the input and this.
        asked = jnp.matmul(still(pose).astype(x.dtype), still(maps).swapaxes(1, 2), preferred_element_type=wide)
        logit += (asked.reshape(outputs, batch, size, block_size) * still(x)).sum(2)
        coupled = (jax.nn.softmax(logit, axis=0)[:, :, None] * x).astype(x.dtype)
        return logit, jnp.matmul(coupled.reshape(outputs, batch, -1), maps, preferred_element_type=wide)

    if remat:
        of_block = jax.checkpoint(of_block)
    for _ in range(iterations - 1):
        logits, sums = jax.lax.map(functools.partial(of_block, pose), (inputs, kernel, logits))
        pose = squash(sums.sum(0))
    return pose.swapaxes(0, 1).astype(inputs.dtype)


class PrimaryCaps(nn.Module):
    """Primary capsules: a convolution whose output channels are the components of squashed poses.

    Attributes:
      types: capsules at each position.
      dimension: of their poses.
      kernel_size: of the convolution; its length is the number of spatial axes.
      strides: of the convolution.
      padding: as `nn.Conv` takes it.
      kernel_init: of the convolution.
      dtype, param_dtype: of the computation and of the parameters.
    """

    types: int
    dimension: int
    kernel_size: Sequence[int]
    strides: int | Sequence[int] = 1
    padding: Any = "VALID"
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *spatial channels"]
    ) -> Float[Array, "batch *out_spatial {self.types} {self.dimension}"]:
        """Maps float [B, *spatial, C] to poses [B, *spatial', types, dimension]."""
        x = Conv(
            self.types * self.dimension,
            tuple(self.kernel_size),
            strides=self.strides,
            padding=self.padding,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="conv",
        )(x)
        return squash(x.reshape(*x.shape[:-1], self.types, self.dimension))


class DenseCaps(nn.Module):
    """Fully connected capsules: each output has its own linear map of every input; dynamic routing.

    Attributes:
      capsules: J.
      dimension: D of their poses.
      iterations: of the routing.
      detach: as in `route`; saves two thirds of the time of a gradient.
      vote_megabytes: size of the blocks in which inputs are processed, B * J * P elements per input; blocks are
        recomputed for the gradient. None: on a CPU 1, which stays in its cache; elsewhere a single block, stored for
        the gradient. In an export whose batch is free, B is 1 here, and without a size there is one block. The peak
        memory of a gradient is about ten times this, and at least that of inputs, maps and
        logits. For CapsNet, 128 examples in float32, three iterations: 44 MB at 1, 64 MB at 5, 440 MB for all 45.
      kernel_init: of the maps, [I, P, J, D]; the authors' code uses a normal distribution with standard deviation 0.1,
        truncated at two standard deviations.
      dtype, param_dtype: of the computation and of the parameters.
    """

    capsules: int
    dimension: int
    iterations: int = 3
    detach: bool = False
    vote_megabytes: float | None = None
    kernel_init: Any = nn.initializers.truncated_normal(0.1)
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, poses: Float[Array, "batch *capsules pose"]
    ) -> Float[Array, "batch {self.capsules} {self.dimension}"]:
        """Maps poses [B, ..., P] of I capsules in all to poses [B, J, D]."""
        inputs = poses.reshape(poses.shape[0], -1, poses.shape[-1])
        batch, _, size = inputs.shape
        shape = (*inputs.shape[1:], self.capsules, self.dimension)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        inputs, kernel = promote_dtype(inputs, kernel, dtype=self.dtype)
        is_free = export.is_symbolic_dim(batch)  # in an export, where blocks are as for a single example
        one_input = (1 if is_free else batch) * self.capsules * size * inputs.dtype.itemsize
        routing = functools.partial(route, iterations=self.iterations, detach=self.detach)

        def bounded(megabytes: float) -> Callable[..., jax.Array]:
            return functools.partial(routing, block_size=max(1, int(megabytes * _MEGABYTE / one_input)), remat=True)

        if self.vote_megabytes is not None:
            return bounded(self.vote_megabytes)(inputs, kernel)
        if is_free:
            return routing(inputs, kernel)
        return jax.lax.platform_dependent(inputs, kernel, cpu=bounded(_CACHE_MEGABYTES), default=routing)


class MaskedDecoder(nn.Module):
    """Decodes an image from one capsule at a time, with all other poses set to zero (section 4.1).

    Attributes:
      size: number of values of an image.
      hidden: units of the hidden layers.
      dtype, param_dtype: of the computation and of the parameters.
    """

    size: int
    hidden: Sequence[int] = (512, 1024)
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, poses: Float[Array, "batch capsules dimension"]) -> Float[Array, "batch capsules {self.size}"]:
        """Maps poses [B, J, D] to images in 0..1, [B, J, size], one decoded from each capsule."""
        masked = poses[:, :, None] * jnp.eye(poses.shape[1], dtype=poses.dtype)[:, :, None]
        x = masked.reshape(*poses.shape[:2], -1)
        for number, width in enumerate((*self.hidden, self.size), start=1):
            last = number > len(self.hidden)
            x = nn.Dense(width, dtype=self.dtype, param_dtype=self.param_dtype, name=f"fc{number}")(x)
            x = nn.sigmoid(x) if last else nn.relu(x)
        return x
