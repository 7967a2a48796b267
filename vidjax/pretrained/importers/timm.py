"""The layouts of timm's image networks: "blocks.1.0.conv_pw.weight"."""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from vidjax.pretrained.importers.image_module import SIZE, channels_last, check_image_module, is_expanding
from vidjax.pretrained.importers.torchvision import (
    name_inception_v3,
    name_resnet50,
    name_vgg19_features,
    without_auxiliary,
)
from vidjax.pretrained.importers.weight_mapping import NameLayer, fill

_VGG19_DENSE = {"fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2", "classes": "head.fc"}
VARIANTS = {
    "vgg19": ("torch", "keras"),  # which are the same
    "mobilenet_v2": ("torch",),
    "efficientnet_lite0": ("torch", "keras"),  # efficientnet_lite0 and tf_efficientnet_lite0
    "resnet50": ("torch",),
    "inception_v3": ("torch",),
}


def from_timm(module: nn.Module, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Variables of an `ImageFusion` from the state of a timm model.

    These are `vgg19`, `mobilenetv2_100`, `efficientnet_lite0` (variant=torch), `tf_efficientnet_lite0` (variant=keras),
    `resnet50` and `inception_v3`.

    Args:
      module: of single frames, with the number of classes of the checkpoint; VGG19 with head=full.
      weights: name -> float array.

    Returns:
      {"params": ..., "batch_stats": ...}.

    Raises:
      ConfigError: for another module.
      DataError: names a parameter that is missing, unexpected or of another shape.

    References:
      timm/models/vgg.py, efficientnet.py, resnet.py and inception_v3.py.
    """
    network = check_image_module(module, "timm", VARIANTS)
    if network.backbone == "vgg19":
        weights = _dense(weights)
    return fill(module, without_auxiliary(weights), _LAYERS[network.backbone], SIZE)


def _dense(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """VGG's hidden layers are convolutions of 7 x 7 and 1 x 1 there."""
    names = [f"{_VGG19_DENSE[layer]}.weight" for layer in ("fc6", "fc7")]
    given = {name: np.asarray(weights[name]) for name in names if name in weights}
    flat = {name: kernel.reshape(len(kernel), -1) for name, kernel in given.items() if kernel.ndim == 4}
    return channels_last({**weights, **flat}, names[0])


def _vgg19(path: tuple[str, ...]) -> str:
    return name_vgg19_features(*path[1:]) if path[0] == "trunk" else _VGG19_DENSE[path[0]]


def _inverted_residuals(backbone: str, path: tuple[str, ...]) -> str:
    match path:
        case ("classes",):
            return "classifier"
        case (_, place, kind):
            return {"stem": ("conv_stem", "bn1"), "final": ("conv_head", "bn2")}[place][kind == "norm"]
        case (_, stage, block, unit, kind):
            units = ["expand", "depthwise", "project"] if is_expanding(backbone, stage) else ["depthwise", "project"]
            convolutions = ("conv_pw", "conv_dw", "conv_pwl") if len(units) == 3 else ("conv_dw", "conv_pw")
            number = units.index(unit)
            layer = convolutions[number] if kind == "conv" else f"bn{number + 1}"
            return f"blocks.{int(stage.removeprefix('stage')) - 1}.{block.removeprefix('block')}.{layer}"
    raise ValueError(f"no layer of {backbone}: {'/'.join(path)}")


_LAYERS: dict[str, NameLayer] = {
    "vgg19": _vgg19,
    "mobilenet_v2": functools.partial(_inverted_residuals, "mobilenet_v2"),
    "efficientnet_lite0": functools.partial(_inverted_residuals, "efficientnet_lite0"),
    "resnet50": name_resnet50,
    "inception_v3": name_inception_v3,
}
