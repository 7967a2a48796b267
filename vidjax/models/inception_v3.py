"""Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision" (CVPR): Inception-v3.

The network of table 1 as the authors published it, without the auxiliary classifier: 23,834,568 parameters with 1000
classes in PyTorch's form, 23,817,352 in that of Keras. Modules have the names of torchvision. Inputs are 299 pixels
wide, with values in [-1, 1]; those of torchvision that are normalized by ImageNet's mean and deviation are mapped there
by the model itself (`transform_input`), which these modules leave to the preprocessing.
"""

from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from vidjax.layers.frame_convolution import FrameConvNorm, Windows, below
from vidjax.layers.pooling import avg_pool, max_pool
from vidjax.layers.shapes import Clips, FeatureMaps
from vidjax.models.image_trunk import ImageTrunk


class Unit(NamedTuple):
    """A convolution of a module, with batch normalization and ReLU.

    Attributes:
      name: in torchvision.
      features: output channels.
      kernel: height and width.
      stride: in space; at stride 2 there is no padding.
    """

    name: str
    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


# A module consists of branches, whose results are concatenated; a branch is a chain of units that may end in a fork of
# two. The branch after a pool is the last one: without a unit the pool is a max pool at stride 2.
Branch = tuple[Unit | tuple[Unit, Unit], ...]


def _reduced_later(pool: int) -> tuple[Branch, ...]:
    """Figure 5."""
    return (
        (Unit("branch1x1", 64),),
        (Unit("branch5x5_1", 48), Unit("branch5x5_2", 64, (5, 5))),
        (Unit("branch3x3dbl_1", 64), Unit("branch3x3dbl_2", 96, (3, 3)), Unit("branch3x3dbl_3", 96, (3, 3))),
        (Unit("branch_pool", pool),),
    )


def _factorized(width: int) -> tuple[Branch, ...]:
    """Figure 6, n = 7."""
    return (
        (Unit("branch1x1", 192),),
        (
            Unit("branch7x7_1", width),
            Unit("branch7x7_2", width, (1, 7)),
            Unit("branch7x7_3", 192, (7, 1)),
        ),
        (
            Unit("branch7x7dbl_1", width),
            Unit("branch7x7dbl_2", width, (7, 1)),
            Unit("branch7x7dbl_3", width, (1, 7)),
            Unit("branch7x7dbl_4", width, (7, 1)),
            Unit("branch7x7dbl_5", 192, (1, 7)),
        ),
        (Unit("branch_pool", 192),),
    )


# Figure 7.
_EXPANDED: tuple[Branch, ...] = (
    (Unit("branch1x1", 320),),
    (Unit("branch3x3_1", 384), (Unit("branch3x3_2a", 384, (1, 3)), Unit("branch3x3_2b", 384, (3, 1)))),
    (
        Unit("branch3x3dbl_1", 448),
        Unit("branch3x3dbl_2", 384, (3, 3)),
        (Unit("branch3x3dbl_3a", 384, (1, 3)), Unit("branch3x3dbl_3b", 384, (3, 1))),
    ),
    (Unit("branch_pool", 192),),
)
STEM = (
    Unit("Conv2d_1a_3x3", 32, (3, 3), 2),
    Unit("Conv2d_2a_3x3", 32, (3, 3)),
    Unit("Conv2d_2b_3x3", 64, (3, 3)),
    Unit("Conv2d_3b_1x1", 80),
    Unit("Conv2d_4a_3x3", 192, (3, 3)),
)
_UNPADDED = ("Conv2d_2a_3x3", "Conv2d_4a_3x3")
_BEFORE_POOLS = ("Conv2d_2b_3x3", "Conv2d_4a_3x3")
MODULES: dict[str, dict[str, tuple[Branch, ...]]] = {
    "stage1": {"Mixed_5b": _reduced_later(32), "Mixed_5c": _reduced_later(64), "Mixed_5d": _reduced_later(64)},
    "stage2": {
        "Mixed_6a": (
            (Unit("branch3x3", 384, (3, 3), 2),),
            (Unit("branch3x3dbl_1", 64), Unit("branch3x3dbl_2", 96, (3, 3)), Unit("branch3x3dbl_3", 96, (3, 3), 2)),
            (),
        ),
        "Mixed_6b": _factorized(128),
        "Mixed_6c": _factorized(160),
        "Mixed_6d": _factorized(160),
        "Mixed_6e": _factorized(192),
    },
    "stage3": {
        "Mixed_7a": (
            (Unit("branch3x3_1", 192), Unit("branch3x3_2", 320, (3, 3), 2)),
            (
                Unit("branch7x7x3_1", 192),
                Unit("branch7x7x3_2", 192, (1, 7)),
                Unit("branch7x7x3_3", 192, (7, 1)),
                Unit("branch7x7x3_4", 192, (3, 3), 2),
            ),
            (),
        ),
        "Mixed_7b": _EXPANDED,
        "Mixed_7c": _EXPANDED,
    },
}


class _Stem(nn.Module):
    """The five convolutions before the first module, with two max pools.

    Attributes:
      windows: of the first three.
      options: of `FrameConvNorm`.
    """

    windows: Windows
    options: Any

    @nn.compact
    def __call__(self, x: Clips, *, train: bool) -> FeatureMaps:
        for name, features, kernel, stride in STEM:
            padding = "valid" if stride == 2 or name in _UNPADDED else "symmetric"
            window = self.windows.get(name)
            unit = FrameConvNorm(features, kernel, stride, window, padding, name=name, **self.options)
            x = unit(x, train=train)
            if name in _BEFORE_POOLS:
                x = max_pool(x, (1, 3, 3), (1, 2, 2))
        return x


class _Mixed(nn.Module):
    """An Inception module.

    Attributes:
      branches: as in `MODULES`.
      counts_padding: in average pools, as PyTorch does.
      options: of `FrameConvNorm`.
    """

    branches: Any
    counts_padding: bool
    options: Any

    @nn.compact
    def __call__(self, x: Clips, *, train: bool) -> FeatureMaps:
        *branches, after_pool = self.branches
        results = [self._branch(x, branch, train) for branch in branches]
        if after_pool:
            results.append(self._branch(self._average(x), after_pool, train))
        else:
            results.append(max_pool(x, (1, 3, 3), (1, 2, 2)))
        return jnp.concatenate(results, axis=-1)

    def _branch(self, x: Clips, branch: Branch, train: bool) -> FeatureMaps:
        for step in branch:
            if isinstance(step, Unit):
                x = self._unit(x, step, train)
            else:
                x = jnp.concatenate([self._unit(x, unit, train) for unit in step], axis=-1)
        return x

    def _unit(self, x: Clips, unit: Unit, train: bool) -> FeatureMaps:
        name, features, kernel, stride = unit
        padding = "valid" if stride == 2 else "symmetric"
        return FrameConvNorm(features, kernel, stride, None, padding, name=name, **self.options)(x, train=train)

    def _average(self, x: Clips) -> FeatureMaps:
        """3 x 3 at stride 1."""
        averages = avg_pool(jnp.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0))), (1, 3, 3))
        if self.counts_padding:
            return averages
        # How many rows and columns of a window are not padding.
        h, w = (np.convolve(np.ones(length), np.ones(3))[1:-1] for length in x.shape[2:4])
        return averages * jnp.asarray(9 / np.outer(h, w)[:, :, None], averages.dtype)


class _Stage(nn.Module):
    """Inception modules at one resolution, after the reduction to it.

    Attributes:
      modules: name -> branches.
      counts_padding, options: as in `_Mixed`.
    """

    modules: Any
    counts_padding: bool
    options: Any

    @nn.compact
    def __call__(self, x: Clips, *, train: bool) -> FeatureMaps:
        for name, branches in self.modules.items():
            x = _Mixed(branches, self.counts_padding, self.options, name=name)(x, train=train)
        return x


class InceptionV3(ImageTrunk):
    """Inception-v3 without its classifier: five convolutions (`stem`) and three stages of Inception modules.

    Over time may go the first three convolutions of the stem.

    Of the variants, "torch" counts padding in its average pools; "keras" does not, and its batch normalization has no
    gamma. Both have epsilon 1e-3.
    """

    STAGES: ClassVar[tuple[str, ...]] = ("stem", *MODULES)
    TEMPORAL: ClassVar[tuple[tuple[str, ...], ...]] = tuple((f"stem/{unit.name}",) for unit in STEM[:3])

    @nn.compact
    def __call__(self, clips: Clips, *, train: bool) -> FeatureMaps:
        """Maps float [B, T, H, W, 3], at least 75 pixels in height and width, to [B, T', h, w, 2048]: 8 x 8 at 299.

        Raises:
          ValueError: for a window of a convolution that may not span time, or of more frames than there are.
        """
        windows, is_keras = self._checked_windows(), self._is_keras
        options = self._unit_options(1e-3)
        options["norm"] |= {"use_scale": not is_keras}
        x = _Stem(below(windows, "stem"), options, name="stem")(clips, train=train)
        for name, modules in MODULES.items():
            x = _Stage(modules, not is_keras, options, name=name)(x, train=train)
        return x
