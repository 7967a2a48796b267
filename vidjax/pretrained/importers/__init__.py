"""Weights of PyTorch and Keras models as variables of vidjax's modules: one file per layout of names.

    module = create("slowfast_r50_8x8", num_classes=400)
    variables = from_pytorchvideo(module, read_checkpoint("SLOWFAST_8x8_R50.pyth"))

Importers are pure functions of a module and of a flat mapping, name -> array. Every name is used and every parameter
filled, or a `DataError` names the one that does not fit.
"""

from collections.abc import Callable, Mapping
from typing import Any

from vidjax.pretrained.importers import efficientnet_lite_pytorch, keras, timm, torchvision
from vidjax.pretrained.importers.caffe2 import from_caffe2
from vidjax.pretrained.importers.checkpoint import read_checkpoint
from vidjax.pretrained.importers.efficientnet_lite_pytorch import from_efficientnet_lite_pytorch
from vidjax.pretrained.importers.keras import from_keras
from vidjax.pretrained.importers.pyslowfast import from_pyslowfast
from vidjax.pretrained.importers.pytorchvideo import from_pytorchvideo
from vidjax.pretrained.importers.recurrent import from_keras_recurrent, from_torch_recurrent
from vidjax.pretrained.importers.timm import from_timm
from vidjax.pretrained.importers.torchvision import from_torchvision

IMPORTERS: dict[str, Callable[..., dict[str, Any]]] = {
    "pyslowfast": from_pyslowfast,
    "caffe2": from_caffe2,
    "pytorchvideo": from_pytorchvideo,
    "torchvision": from_torchvision,
    "timm": from_timm,
    "keras": from_keras,
    "efficientnet_lite_pytorch": from_efficientnet_lite_pytorch,
}
# Layout -> backbone of `ImageFusion` -> the variants that it has weights of.
IMAGE_NETWORKS: dict[str, Mapping[str, tuple[str, ...]]] = {
    "torchvision": torchvision.VARIANTS,
    "timm": timm.VARIANTS,
    "keras": keras.VARIANTS,
    "efficientnet_lite_pytorch": efficientnet_lite_pytorch.VARIANTS,
}

__all__ = [
    "IMAGE_NETWORKS",
    "IMPORTERS",
    "from_caffe2",
    "from_efficientnet_lite_pytorch",
    "from_keras",
    "from_keras_recurrent",
    "from_pyslowfast",
    "from_pytorchvideo",
    "from_timm",
    "from_torch_recurrent",
    "from_torchvision",
    "read_checkpoint",
]
