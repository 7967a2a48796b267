"""Capsules with a 4 x 4 pose matrix and a separate activation, routed by expectation-maximization.

Hinton, Sabour and Frosst 2018, "Matrix capsules with EM routing" (ICLR); capsule pooling and three dimensions: Duarte,
Rawat and Shah 2018, "VideoCapsuleNet" (NeurIPS).
"""

import dataclasses
import itertools
import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Float

from vidjax.layers.convolution import Conv
from vidjax.layers.pooling import avg_pool
from vidjax.layers.shapes import Array

_SIDE = 4  # of a pose
_SIZE = _SIDE * _SIDE
_EPSILON = 1e-6  # added to values that may be zero
_MEGABYTE = 1 << 20


class Capsules(NamedTuple):
    """Capsules at each position.

    Attributes:
      poses: float [B, *spatial, types, 4, 4].
      activations: in 0..1, float [B, *spatial, types].
    """

    poses: Float[Array, "batch *spatial types 4 4"]
    activations: Float[Array, "batch *spatial types"]


@dataclasses.dataclass(frozen=True)
class EMRouting:
    """How capsules are routed by expectation-maximization.

    Attributes:
      iterations: at least 1; with 1 inputs are shared equally.
      inverse_temperature: lambda. Iteration t = 1, 2, ... multiplies it by 1 - 0.95^t, as in the authors' code.
      relative_cost: divide an output's cost by an equal share of the inputs' activations. By the paper it grows with
        the number of inputs, so that each layer needs another lambda.
      least_variance: added to variances. A Gaussian that has a single input to itself would have none.
      vote_megabytes: megabytes of votes computed at once, at least those of one window; they are recomputed for the
        gradient. None: all at once, and stored. With gradients, ten times this is in memory. An export whose batch is
        free computes all at once.

    Raises:
      ValueError: if `iterations` is below 1.
    """

    iterations: int = 3
    inverse_temperature: float = 0.01
    relative_cost: bool = False
    least_variance: float = _EPSILON
    vote_megabytes: float | None = None

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ValueError(f"iterations={self.iterations}: routing needs at least 1")


def em_route(
    votes: Float[Array, "*axes inputs outputs dimension"],
    activations: Float[Array, "*axes inputs"],
    beta_u: Float[Array, " outputs"],
    beta_a: Float[Array, " outputs"],
    routing: EMRouting,
) -> tuple[Float[Array, "*axes outputs dimension"], Float[Array, "*axes outputs"]]:
    """EM routing (procedure 1) from I capsules to J, in at least float32.

    The outputs are Gaussians that share out the votes. Gradients pass through all iterations.

    Args:
      votes: float [..., I, J, H].
      activations: of the inputs, float [..., I].
      beta_u: cost of explaining an input by an output, per dimension of the pose, [J].
      beta_a: benefit of activating an output, [J].
      routing: its options.

    Returns:
      The outputs' means [..., J, H] and activations [..., J], of the type of `votes`.
    """
    kind = votes.dtype
    wide = jnp.promote_types(kind, jnp.float32)
    votes, activations = votes.astype(wide), activations.astype(wide)
    share = jnp.full(votes.shape[:-1], 1 / votes.shape[-2], wide)
    for iteration in range(1, routing.iterations + 1):
        used = share * activations[..., None]  # [..., I, J]
        total = used.sum(-2) + _EPSILON
        mean = jnp.einsum("...ij,...ijh->...jh", used, votes) / total[..., None]
        squared = jnp.square(votes - mean[..., None, :, :])
        variance = jnp.einsum("...ij,...ijh->...jh", used, squared) / total[..., None]
        variance += routing.least_variance
        entropy = 0.5 * jnp.log(variance).sum(-1)
        cost = (votes.shape[-1] * beta_u + entropy) * total
        if routing.relative_cost:
            cost /= activations.sum(-1, keepdims=True) / votes.shape[-2] + _EPSILON
        temperature = routing.inverse_temperature * (1 - 0.95**iteration)
        score = temperature * (beta_a - cost)
        if iteration < routing.iterations:
            distance = 0.5 * jnp.einsum("...ijh,...jh->...ij", squared, 1 / variance)
            likelihood = jax.nn.log_sigmoid(score) - entropy
            share = jax.nn.softmax(likelihood[..., None, :] - distance, axis=-1)
    return mean.astype(kind), jax.nn.sigmoid(score).astype(kind)


class PrimaryMatrixCaps(nn.Module):
    """Primary capsules: one convolution gives the poses, linear, and the activations, through a sigmoid.

    Attributes:
      types: capsules at each position.
      kernel_size: of the convolution; its length is the number of spatial axes.
      strides, padding: of the convolution.
      dtype, param_dtype: of the computation and of the parameters.
    """

    types: int
    kernel_size: Sequence[int]
    strides: int | Sequence[int] = 1
    padding: Any = "VALID"
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch *spatial channels"]) -> Capsules:
        """Maps float [B, *spatial, C] to capsules at [B, *spatial']."""
        x = Conv(
            self.types * (_SIZE + 1),
            tuple(self.kernel_size),
            strides=self.strides,
            padding=self.padding,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name="conv",
        )(x)
        poses, activations = jnp.split(x, [self.types * _SIZE], -1)
        return Capsules(poses.reshape(*x.shape[:-1], self.types, _SIDE, _SIDE), nn.sigmoid(activations))


class _Routed(nn.Module):
    """Votes, through one matrix per pair of capsules, and their routing, for each group of I capsules."""

    types: int
    routing: EMRouting
    dtype: Any
    param_dtype: Any

    @nn.compact
    def __call__(
        self,
        poses: Float[Array, "groups shared inputs 4 4"],
        activations: Float[Array, "groups shared inputs"],
        offsets: Float[Array, "shared 4 4"] | None = None,
    ) -> tuple[Float[Array, "groups {self.types} 4 4"], Float[Array, "groups {self.types}"]]:
        """Maps [M, R, I, 4, 4] and [M, R, I], of which all R share their matrices, to [M, J, 4, 4] and [M, J].

        `offsets` [R, 4, 4] are added to the votes.
        """
        inputs = poses.shape[2]
        kernel = self.param("kernel", _near_identity, (inputs, self.types, _SIDE, _SIDE), self.param_dtype)
        beta_use = self.param("beta_use", nn.initializers.zeros_init(), (self.types,), self.param_dtype)
        beta_active = self.param("beta_active", nn.initializers.zeros_init(), (self.types,), self.param_dtype)
        kind = self.dtype or jnp.result_type(poses, kernel)

        def of_group(group: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            pose, activation = group
            votes = jnp.einsum("rixy,ijyz->rijxz", pose.astype(kind), kernel.astype(kind))
            if offsets is not None:
                votes += offsets[:, None, None].astype(kind)
            votes = votes.reshape(-1, self.types, _SIZE)
            mean, active = em_route(votes, activation.reshape(-1), beta_use, beta_active, self.routing)
            return mean.reshape(self.types, _SIDE, _SIDE), active

        group_bytes = math.prod(poses.shape[1:3]) * self.types * _SIZE * 4
        groups = poses.shape[0]
        if self.routing.vote_megabytes is not None and not export.is_symbolic_dim(groups):
            together = max(1, int(self.routing.vote_megabytes * _MEGABYTE / group_bytes))
            if together < groups:
                return jax.lax.map(jax.checkpoint(of_group), (poses, activations), batch_size=together)
        return jax.vmap(of_group)((poses, activations))


class ConvCaps(nn.Module):
    """Convolutional capsules: each is connected to the capsules of a window; EM routing.

    The votes [B, *spatial', I, types, 16] take B * positions * I * types * 64 bytes in float32, where I is the number
    of types below, times the positions of a window unless these are pooled; what the windows see is in memory besides.

    A capsule shares itself out among the types of each window that it lies in. In Hinton et al. the windows compete
    for it, too; of pooled capsules each belongs to one window.

    Attributes:
      types: capsules at each position.
      kernel_size: of the window; its length says how many spatial axes there are.
      strides: of the window.
      pool: average poses and activations of a type over the window, so that a type votes once (capsule pooling,
        Duarte et al.); else every capsule of the window votes by a matrix of its own.
      routing: options of the routing.
      dtype, param_dtype: of the computation and of the parameters.
    """

    types: int
    kernel_size: Sequence[int]
    strides: int | Sequence[int] = 1
    pool: bool = True
    routing: EMRouting = EMRouting()
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, capsules: Capsules) -> Capsules:
        """Maps capsules at [B, *spatial] to capsules at [B, *spatial'], without padding.

        Raises:
          ValueError: if the window has another number of axes, or is larger than the input.
        """
        window = tuple(self.kernel_size)
        strides = (self.strides,) * len(window) if isinstance(self.strides, int) else tuple(self.strides)
        batch, *sizes, types = capsules.activations.shape
        if not len(window) == len(strides) == len(sizes) or any(map(operator.gt, window, sizes)):
            raise ValueError(f"a window of {window} with strides {strides} does not fit capsules at {tuple(sizes)}")
        flat = capsules.poses.reshape(*capsules.activations.shape[:-1], types * _SIZE)
        together = jnp.concatenate([flat, capsules.activations.astype(flat.dtype)], -1)
        if self.pool:
            seen = avg_pool(together, window, strides)[..., None, :]
        else:
            seen = jnp.stack(list(_windows(together, window, strides)), -2)
        places = seen.shape[1:-2]
        seen = seen.reshape(-1, 1, *seen.shape[-2:])
        poses = seen[..., : types * _SIZE].reshape(seen.shape[0], 1, -1, _SIDE, _SIDE)
        activations = seen[..., types * _SIZE :].reshape(seen.shape[0], 1, -1)
        pose, activation = _Routed(self.types, self.routing, self.dtype, self.param_dtype, name="routing")(
            poses, activations
        )
        return Capsules(
            pose.reshape(batch, *places, self.types, _SIDE, _SIDE), activation.reshape(batch, *places, self.types)
        )


class ClassCaps(nn.Module):
    """One capsule per class, connected to all capsules below; EM routing with coordinate addition.

    A type has the same matrices at all positions. So that positions are not lost, their coordinates in -1..1 are added
    to the first elements of a vote's last column: row and column (section 3), in three dimensions the time before them.

    Attributes:
      classes: K.
      routing: its options; all capsules of a clip are one window. The votes take B * positions * types * K * 64 bytes
        in float32.
      dtype, param_dtype: of the computation and of the parameters.
    """

    classes: int
    routing: EMRouting = EMRouting()
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, capsules: Capsules) -> Capsules:
        """Maps capsules at [B, *spatial] to poses [B, K, 4, 4] and activations [B, K]."""
        batch, *places, types = capsules.activations.shape
        pose, activation = _Routed(self.classes, self.routing, self.dtype, self.param_dtype, name="routing")(
            capsules.poses.reshape(batch, -1, types, _SIDE, _SIDE),
            capsules.activations.reshape(batch, -1, types),
            _coordinates(places),
        )
        return Capsules(pose, activation)


def _near_identity(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Maps that keep most of a pose, so that votes agree where poses do."""
    return jnp.eye(_SIDE, dtype=dtype) + 0.1 * jax.random.normal(key, shape, dtype)


def _coordinates(places: Sequence[int]) -> jax.Array:
    """What is added to the votes from each position, [positions, 4, 4]."""
    offsets = np.zeros((*places, _SIDE, _SIDE), np.float32)
    for axis, grid in enumerate(
        np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else [0.0] for n in places), indexing="ij")
    ):
        offsets[..., axis, -1] = grid
    return jnp.asarray(offsets.reshape(-1, _SIDE, _SIDE))


def _windows(x: jax.Array, window: Sequence[int], strides: Sequence[int]) -> Iterator[jax.Array]:
    """For each place in the window, what all windows see there, [B, *spatial', C]."""
    reaches = [
        (size - extent) // step * step + 1 for size, extent, step in zip(x.shape[1:-1], window, strides, strict=True)
    ]
    for place in itertools.product(*map(range, window)):
        ends = (start + reach for start, reach in zip(place, reaches))
        yield x[:, *(slice(*bounds) for bounds in zip(place, ends, strides))]
