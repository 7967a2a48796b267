"""The layout of torchvision's video ResNets: "layer1.0.conv1.0.weight"."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from vidjax.models.resnet3d import ResNet3D
from vidjax.pretrained.importers.weight_mapping import check_module, fill

_STEM = {"stem": {"conv": "0", "norm": "1"}}
_STEM |= {"stem_space": {"conv": "0", "norm": "1"}, "stem_time": {"conv": "3", "norm": "4"}}  # 2 is a ReLU
# Of a block: the whole convolution, or its part in space and its part in time.
_UNIT = {"": {"conv": "0", "norm": "1"}}
_UNIT |= {"space": {"conv": "0.0", "norm": "0.1"}, "time": {"conv": "0.3", "norm": "1"}}  # 0.2 is a ReLU


def from_torchvision(module: nn.Module, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Variables of a `ResNet3D` from the state of torchvision's `r3d_18` or `r2plus1d_18`.

    Args:
      module: with the widths and the number of classes of the checkpoint.
      weights: name -> float array.

    Returns:
      {"params": ..., "batch_stats": ...}.

    Raises:
      ConfigError: for another module.
      DataError: names a parameter that is missing, unexpected or of another shape.

    References:
      torchvision/models/video/resnet.py.
    """
    check_module(module, ResNet3D)
    return fill(module, weights, name_layer)


def name_layer(path: tuple[str, ...]) -> str:
    """The name of a layer; the modules inside are numbers, of which those without parameters have one, too."""
    match path:
        case ("classes",):
            return "fc"
        case (stem, kind):
            return f"stem.{_STEM[stem][kind]}"
        case (place, "shortcut", kind):
            return f"{_block(place)}.downsample.{_UNIT[''][kind]}"
        case (place, unit, kind):
            letter, _, part = unit.partition("_")
            return f"{_block(place)}.conv{'ab'.index(letter) + 1}.{_UNIT[part][kind]}"
    raise ValueError(f"no layer of ResNet3D: {'/'.join(path)}")


def _block(place: str) -> str:
    stage, _, number = place.removeprefix("res").partition("_")
    return f"layer{int(stage) - 1}.{number}"
