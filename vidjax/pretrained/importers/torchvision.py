"""The layouts of torchvision: its video ResNets, "layer1.0.conv1.0.weight", and its image networks."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from vidjax.models.image_fusion import ImageFusion
from vidjax.models.resnet3d import ResNet3D
from vidjax.pretrained.importers.image_module import (
    SIZE,
    block_number,
    channels_last,
    check_image_module,
    is_expanding,
)
from vidjax.pretrained.importers.weight_mapping import NameLayer, check_module, fill

_STEM = {"stem": {"conv": "0", "norm": "1"}}
_STEM |= {"stem_space": {"conv": "0", "norm": "1"}, "stem_time": {"conv": "3", "norm": "4"}}  # 2 is a ReLU
# Of a block: the whole convolution, or its part in space and its part in time.
_UNIT = {"": {"conv": "0", "norm": "1"}}
_UNIT |= {"space": {"conv": "0.0", "norm": "0.1"}, "time": {"conv": "0.3", "norm": "1"}}  # 0.2 is a ReLU
_KINDS = {"conv": "conv", "norm": "bn"}
VARIANTS = {
    "vgg19": ("torch", "keras"),  # which are the same
    "mobilenet_v2": ("torch",),
    "resnet50": ("torch",),
    "inception_v3": ("torch",),
}
# Numbers of VGG19's convolutions, between which ReLUs and pools count.
VGG19_NUMBERS = ((0, 2), (5, 7), (10, 12, 14, 16), (19, 21, 23, 25), (28, 30, 32, 34))
_VGG19_DENSE = {"fc6": "classifier.0", "fc7": "classifier.3", "classes": "classifier.6"}


def from_torchvision(module: nn.Module, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Variables of a `ResNet3D` or an `ImageFusion` from the state of a torchvision model.

    These are `r3d_18`, `r2plus1d_18`, `vgg19`, `mobilenet_v2`, `resnet50` and `inception_v3`, without its auxiliary
    classifier ("AuxLogits").

    Args:
      module: with the widths and the number of classes of the checkpoint; an ImageFusion of single frames, VGG19 with
        head=full.
      weights: name -> float array.

    Returns:
      {"params": ..., "batch_stats": ...}.

    Raises:
      ConfigError: for another module.
      DataError: names a parameter that is missing, unexpected or of another shape.

    References:
      torchvision/models/video/resnet.py, vgg.py, mobilenetv2.py, resnet.py and inception.py.
    """
    check_module(module, ResNet3D, ImageFusion)
    if isinstance(module, ResNet3D):
        return fill(module, weights, name_layer)
    network = check_image_module(module, "torchvision", VARIANTS)
    if network.backbone == "vgg19":
        weights = channels_last(weights, f"{_VGG19_DENSE['fc6']}.weight")
    return fill(module, without_auxiliary(weights), _IMAGE_LAYERS[network.backbone], SIZE)


def without_auxiliary(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights without Inception-v3's auxiliary classifier."""
    return {name: value for name, value in weights.items() if not name.startswith("AuxLogits.")}


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


def name_vgg19_features(stage: str, convolution: str) -> str:
    """The name of a convolution of VGG19, e.g. "features.5" of "stage2", "conv1"."""
    numbers = VGG19_NUMBERS[int(stage.removeprefix("stage")) - 1]
    return f"features.{numbers[int(convolution.removeprefix('conv')) - 1]}"


def _vgg19(path: tuple[str, ...]) -> str:
    if path[0] == "trunk":
        return name_vgg19_features(*path[1:])
    return _VGG19_DENSE[path[0]]


def _mobilenet_v2(path: tuple[str, ...]) -> str:
    match path:
        case ("classes",):
            return "classifier.1"
        case (_, place, kind):
            return f"features.{0 if place == 'stem' else 18}.{_UNIT[''][kind]}"
        case (_, stage, block, unit, kind):
            number = block_number("mobilenet_v2", stage, block) + 1
            expanding = int(is_expanding("mobilenet_v2", stage))
            inner = _UNIT[""][kind]
            match unit:
                case "expand":
                    layer = f"0.{inner}"
                case "depthwise":
                    layer = f"{expanding}.{inner}"
                case _:  # convolution and normalization are not in a part of their own
                    layer = str(expanding + 1 + int(inner))
            return f"features.{number}.conv.{layer}"
    raise ValueError(f"no layer of MobileNetV2: {'/'.join(path)}")


def name_resnet50(path: tuple[str, ...]) -> str:
    """The name of a layer of ResNet50, in torchvision and timm."""
    match path:
        case ("classes",):
            return "fc"
        case (_, _, kind):
            return {"conv": "conv1", "norm": "bn1"}[kind]
        case (_, stage, block, unit, kind):
            place = f"layer{stage.removeprefix('stage')}.{block.removeprefix('block')}"
            if unit == "shortcut":
                return f"{place}.downsample.{_UNIT[''][kind]}"
            return f"{place}.{_KINDS[kind]}{'abc'.index(unit) + 1}"
    raise ValueError(f"no layer of ResNet50: {'/'.join(path)}")


def name_inception_v3(path: tuple[str, ...]) -> str:
    """The name of a layer of Inception-v3, in torchvision and timm: that of ours without its stage."""
    if path == ("classes",):
        return "fc"
    *place, kind = path[2:]
    return ".".join([*place, _KINDS[kind]])


_IMAGE_LAYERS: dict[str, NameLayer] = {
    "vgg19": _vgg19,
    "mobilenet_v2": _mobilenet_v2,
    "resnet50": name_resnet50,
    "inception_v3": name_inception_v3,
}
