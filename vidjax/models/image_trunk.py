"""What the image networks have in common: named stages, and which of their convolutions may span time."""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from flax.core import FrozenDict

from vidjax.layers.frame_convolution import Window

VARIANTS = ("torch", "keras")


class ImageTrunk(nn.Module):
    """Base of the image networks without their classifiers, which see the frames of clips.

    `__call__(clips, *, train)` maps float [B, T, H, W, 3] to feature maps [B, T', h, w, D].

    Attributes:
      windows: path of a convolution, among `TEMPORAL` -> its extent and stride in time. All others see frames alone.
      variant: "torch" or "keras", whose weights fit: the libraries differ in padding, epsilon and other details, as the
        classes say. None: the default of the class.
      group_size, axis_name, dtype, param_dtype: as in `BatchNorm`.

    STAGES are the names of the submodules, first to last. TEMPORAL are the three places at which slow fusion fuses,
    each one or more paths of convolutions; the first is also that of early fusion.
    """

    STAGES: ClassVar[tuple[str, ...]] = ()
    TEMPORAL: ClassVar[tuple[tuple[str, ...], ...]] = ()
    DEFAULT_VARIANT: ClassVar[str] = "torch"

    windows: Mapping[str, Window] = FrozenDict()
    variant: str | None = None
    group_size: int | None = None
    axis_name: str | None = None
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @property
    def _is_keras(self) -> bool:
        return (self.variant or self.DEFAULT_VARIANT) == "keras"

    def _checked_windows(self) -> Mapping[str, Window]:
        """The windows.

        Raises:
          ValueError: for one of a convolution that may not span time.
        """
        known = [path for place in self.TEMPORAL for path in place]
        for path in self.windows:
            if path not in known:
                raise ValueError(
                    f"{type(self).__name__} has no convolution {path!r} that may span time (known: {known})"
                )
        return self.windows

    def _unit_options(self, epsilon: float) -> dict[str, Any]:
        """Options of `FrameConvNorm` that all units share."""
        norm = {"epsilon": epsilon, "group_size": self.group_size, "axis_name": self.axis_name}
        return {"norm": norm, "dtype": self.dtype, "param_dtype": self.param_dtype}
