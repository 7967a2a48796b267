"""What the layouts of image networks have in common: which modules they fit, and VGG's first dense layer."""

from collections.abc import Mapping

import flax.linen as nn
import numpy as np

from vidjax.errors import ConfigError
from vidjax.models.image_fusion import BACKBONES, ImageFusion
from vidjax.models.mobilenet_v2 import InvertedResidualTrunk
from vidjax.pretrained.importers.weight_mapping import check_module

_LAST_SIDE = 7  # of VGG's last feature maps at 224 pixels, which its first dense layer sees
SIZE = 224  # of the frames: VGG's first dense layer depends on it


def check_image_module(module: nn.Module, layout: str, variants: Mapping[str, tuple[str, ...]]) -> ImageFusion:
    """Refuses a module that the weights of an image network do not fit as they are.

    Args:
      module: any.
      layout: for the message.
      variants: backbone -> the variants that the layout has weights of.

    Raises:
      ConfigError: says what to build instead.
    """
    check_module(module, ImageFusion)
    assert isinstance(module, ImageFusion)
    if module.backbone not in variants:
        raise ConfigError(f"{layout} has weights of {', '.join(variants)}, not of {module.backbone}")
    variant = module.variant or BACKBONES[module.backbone].DEFAULT_VARIANT
    if variant not in variants[module.backbone]:
        raise ConfigError(
            f"{layout}'s weights of {module.backbone} fit variant={variants[module.backbone][0]}, not {variant}"
        )
    if module.fusion != "single_frame" or module.pooling != "mean":
        raise ConfigError(
            "weights of an image network fit fusion=single_frame with pooling=mean; inflate its variables for others"
        )
    if (module.head == "full") != (module.backbone == "vgg19"):
        wanted = "full" if module.backbone == "vgg19" else "pooled"
        raise ConfigError(f"weights of {module.backbone} fit head={wanted}, not {module.head}")
    return module


def block_number(backbone: str, stage: str, block: str) -> int:
    """The number of a block among those of all stages, of MobileNetV2 and EfficientNet-Lite0."""
    kind = BACKBONES[backbone]
    assert issubclass(kind, InvertedResidualTrunk)
    before = kind.TABLE[: int(stage.removeprefix("stage")) - 1]
    return sum(each.blocks for each in before) + int(block.removeprefix("block"))


def is_expanding(backbone: str, stage: str) -> bool:
    """Whether the blocks of a stage of MobileNetV2 or EfficientNet-Lite0 expand the channels."""
    kind = BACKBONES[backbone]
    assert issubclass(kind, InvertedResidualTrunk)
    return kind.TABLE[int(stage.removeprefix("stage")) - 1].expansion != 1


def channels_last(weights: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The weights, with the inputs of the dense layer `name`, [O, C * 7 * 7], in the order of maps [7, 7, C].

    PyTorch flattens channels, rows, columns. A merely transposed kernel gives logits that look alive.
    """
    kernel = np.asarray(weights.get(name, ()))
    places = _LAST_SIDE**2
    if kernel.ndim != 2 or kernel.shape[1] % places:
        return dict(weights)  # what is wrong is named when it is filled in
    moved = kernel.reshape(kernel.shape[0], -1, places).swapaxes(1, 2).reshape(kernel.shape)
    return {**weights, name: moved}
