"""Capsules whose pose is a vector, its length the probability that what it stands for is there.

Sabour, Frosst and Hinton 2017, "Dynamic Routing Between Capsules" (NeurIPS).
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from vidjax.layers.convolution import Conv


def lengths(poses: jax.Array) -> jax.Array:
    """Euclidean lengths over the last axis, in at least float32; the gradient at zero is zero."""
    poses = poses.astype(jnp.promote_types(poses.dtype, jnp.float32))
    squared = jnp.square(poses).sum(-1)
    return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def squash(vectors: jax.Array) -> jax.Array:
    """Shrinks vectors over the last axis to lengths below 1: |s|^2 / (1 + |s|^2) * s / |s| (equation 1).

    Computed in at least float32; returns the type of `vectors`.
    """
    length = lengths(vectors)[..., None]
    return (vectors * (length / (1 + jnp.square(length)))).astype(vectors.dtype)


def route(inputs: jax.Array, kernel: jax.Array, iterations: int) -> jax.Array:
    """Routing by agreement (procedure 1) from I capsules to J.

    A vote is a linear map of an input, so that sums of votes by coupling, and products of votes with an output, are
    matrix products of the inputs by coupling, and of the output, with the kernel. The votes [B, I, J, D] themselves
    are never formed: the largest arrays have J * B * I * P numbers, of which each iteration makes two. Gradients pass
    through all iterations. Logits begin at zero; they are no parameters.

    Args:
      inputs: float [B, I, P].
      kernel: float [J, I, P, D], of the same type.
      iterations: at least 1; 1 is a sum of votes in equal shares.

    Returns:
      float [B, J, D], squashed. Sums are in at least float32.
    """
    outputs, count, size, dimension = kernel.shape
    batch = inputs.shape[0]
    wide = jnp.promote_types(inputs.dtype, jnp.float32)
    flat = kernel.reshape(outputs, count * size, dimension)

    def poses(weighted: jax.Array) -> jax.Array:
        """[J or 1, B, I, P] to [J, B, D]."""
        shape = (outputs, batch, count * size)
        weighted = jnp.broadcast_to(weighted, (outputs, *inputs.shape)).reshape(shape)
        return squash(jnp.matmul(weighted, flat, preferred_element_type=wide))

    pose = poses(inputs[None] / outputs)
    logits = jnp.zeros((outputs, batch, count), wide)
    for _ in range(iterations - 1):
        # What the outputs ask of each input: the agreement of a vote is its product with the input.
        asked = jnp.matmul(pose.astype(inputs.dtype), flat.swapaxes(1, 2), preferred_element_type=wide)
        logits += (asked.reshape(outputs, *inputs.shape) * inputs).sum(-1)
        coupling = jax.nn.softmax(logits, axis=0)
        pose = poses((coupling[..., None] * inputs).astype(inputs.dtype))
    return pose.swapaxes(0, 1).astype(inputs.dtype)


class PrimaryCaps(nn.Module):
    """Capsules from features: a convolution whose filters are the components of squashed poses.

    Attributes:
      types: capsules at each position.
      dimension: of their poses.
      kernel_size: of the convolution; its length says how many spatial axes there are.
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
    def __call__(self, x: jax.Array) -> jax.Array:
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
    """Capsules each of which sees all capsules below, through maps of its own, by dynamic routing.

    Attributes:
      capsules: J.
      dimension: D of their poses.
      iterations: of the routing.
      remat: compute the routing anew for its gradient rather than keep what its iterations made.
      kernel_init: of the maps, [J, I, P, D]; the paper's code draws from a normal distribution of deviation 0.1.
      dtype, param_dtype: of the computation and of the parameters.
    """

    capsules: int
    dimension: int
    iterations: int = 3
    remat: bool = False
    kernel_init: Any = nn.initializers.truncated_normal(0.1)
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, poses: jax.Array) -> jax.Array:
        """Maps poses [B, ..., P] of I capsules in all to poses [B, J, D]."""
        if self.iterations < 1:
            raise ValueError(f"iterations={self.iterations}: routing takes at least 1")
        inputs = poses.reshape(poses.shape[0], -1, poses.shape[-1])
        shape = (self.capsules, *inputs.shape[1:], self.dimension)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        inputs, kernel = promote_dtype(inputs, kernel, dtype=self.dtype)
        routing = jax.checkpoint(route, static_argnums=2) if self.remat else route
        return routing(inputs, kernel, self.iterations)


class MaskedDecoder(nn.Module):
    """Pictures from one capsule at a time: all other poses are set to zero (section 4.1).

    Attributes:
      size: numbers of a picture.
      hidden: units of the hidden layers.
      dtype, param_dtype: of the computation and of the parameters.
    """

    size: int
    hidden: Sequence[int] = (512, 1024)
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, poses: jax.Array) -> jax.Array:
        """Maps poses [B, J, D] to pictures in 0..1, [B, J, size]: of each capsule, what it alone would draw."""
        masked = poses[:, :, None] * jnp.eye(poses.shape[1], dtype=poses.dtype)[:, :, None]
        x = masked.reshape(*poses.shape[:2], -1)
        for number, width in enumerate((*self.hidden, self.size), start=1):
            last = number > len(self.hidden)
            x = nn.Dense(width, dtype=self.dtype, param_dtype=self.param_dtype, name=f"fc{number}")(x)
            x = nn.sigmoid(x) if last else nn.relu(x)
        return x
