"""The layouts of Keras' image networks, `keras.applications`: by class and number, or by the names of layers.

Files of Keras 3 (`.weights.h5`, and `model.weights.h5` in `.keras`) call a layer by its class and its number in the
order of `model.layers`: "layers/conv2d_12/vars/0", "layers/conv2d" being the first. Layers are in the order of their
distance from the output, the farthest first, and among equals of creation. Older `.h5` files have the names of layers:
"block1_conv1/block1_conv1/kernel:0", also below "model_weights". Inception-v3's are numbers in the order of creation.

Keras trained VGG19 and ResNet50 on images in BGR. Here they take RGB: their first convolution is turned around.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np

from vidjax.errors import DataError
from vidjax.models import inception_v3, resnet, vgg
from vidjax.models.image_fusion import BACKBONES
from vidjax.models.mobilenet_v2 import InvertedResidualTrunk
from vidjax.pretrained.importers.image_module import SIZE, block_number, check_image_module, is_expanding
from vidjax.pretrained.importers.weight_mapping import fill_by_name

Path = tuple[str, ...]

VARIANTS = {
    "vgg19": ("torch", "keras"),  # which are the same
    "mobilenet_v2": ("keras",),
    "resnet50": ("keras",),
    "inception_v3": ("keras",),
}
_BGR = ("vgg19", "resnet50")
_ANY = re.compile(r"(?:.*/)?layers/(?P<layer>[a-z0-9_]+)/vars/(?P<number>\d+)")
_LEAVES = {
    "kernel": "kernel",
    "depthwise_kernel": "kernel",
    "bias": "bias",
    "gamma": "scale",
    "beta": "bias",
    "moving_mean": "mean",
    "moving_variance": "var",
}
_OLD_CLASSES = "Logits"  # the last layer of older MobileNetV2
_OLDEST_LEAVES = {"W": "kernel", "b": "bias"}  # "block1_conv1_W_1:0"


class _Layer(NamedTuple):
    """A layer of Keras and of ours.

    Attributes:
      path: of ours, e.g. ("trunk", "stem", "conv").
      kind: of Keras' layer: "conv2d", "depthwise_conv2d", "batch_normalization" or "dense".
      name: of Keras' layer; "#12": its class and its number in the order of creation.
    """

    path: Path
    kind: str
    name: str


def from_keras(module: nn.Module, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Variables of an `ImageFusion` from the weights of one of `keras.applications`.

    These are VGG19, MobileNetV2 (alpha 1), ResNet50 and InceptionV3.

    Args:
      module: of single frames, variant=keras, with the number of classes of the file; VGG19 with head=full.
      weights: name in the file -> float array.

    Returns:
      {"params": ..., "batch_stats": ...}, for frames in RGB.

    Raises:
      ConfigError: for another module.
      DataError: names a parameter that is missing, unexpected or of another shape.
    """
    network = check_image_module(module, "keras", VARIANTS)
    layers = list(_LAYERS[network.backbone]())
    use_scale = network.backbone != "inception_v3"
    if any(_ANY.fullmatch(name) for name in weights):
        names = _by_class(layers, use_scale, weights)
    else:
        names = _by_name(layers, weights)
    kinds = {layer.path: layer.kind for layer in layers}

    def name_variable(path: Path, ndim: int) -> tuple[str, tuple[int, ...]]:
        layer, leaf = path[1:-1], path[-1]
        axes = tuple(range(ndim))
        if kinds[layer] == "depthwise_conv2d":  # [H, W, C, 1] there
            axes = (0, 1, 3, 2)
        return names[layer, leaf], axes

    variables = fill_by_name(module, weights, name_variable, SIZE)
    if network.backbone in _BGR:
        *place, last = layers[0].path
        first = variables["params"]
        for part in place:
            first = first[part]
        first[last]["kernel"] = np.ascontiguousarray(first[last]["kernel"][:, :, ::-1])
    return variables


def _by_class(layers: Iterable[_Layer], use_scale: bool, weights: Mapping[str, np.ndarray]) -> dict[tuple, str]:
    """(path, leaf) -> name in a file of Keras 3."""
    prefix = next(match.group()[: match.start("layer")] for match in map(_ANY.fullmatch, weights) if match)
    statistics = ["bias", "mean", "var"]
    of_norm = ["scale", *statistics] if use_scale else statistics
    count: dict[str, int] = {}
    names = {}
    for layer in layers:
        number = count[layer.kind] = count.get(layer.kind, -1) + 1
        suffix = f"_{number}" if number else ""
        leaves = of_norm if layer.kind == "batch_normalization" else ["kernel", "bias"]
        for index, leaf in enumerate(leaves):
            names[layer.path, leaf] = f"{prefix}{layer.kind}{suffix}/vars/{index}"
    return names


def _by_name(layers: list[_Layer], weights: Mapping[str, np.ndarray]) -> dict[tuple, str]:
    """(path, leaf) -> name in an older file."""
    given: dict[tuple[str, str], str] = {}
    for name in weights:
        key = _layer_and_leaf(name)
        if key in given:
            raise DataError(f"parameter {name!r} is the same as {given[key]!r}")
        given[key] = name
    present = {of_layer for of_layer, _ in given}
    numbered = _numbered(present)
    names = {}
    for layer in layers:
        own = layer.name
        if own.startswith("#"):  # its number in the order of creation
            own = dict(enumerate(numbered.get(layer.kind, ()))).get(int(own[1:]), f"{layer.kind}_{own[1:]}")
        if own == "predictions" and own not in present and _OLD_CLASSES in present:
            own = _OLD_CLASSES
        for leaf in ("kernel", "bias", "scale", "mean", "var"):
            names[layer.path, leaf] = given.get((own, leaf), f"{own}/{leaf}")
    return names


def _layer_and_leaf(name: str) -> tuple[str, str]:
    """Of "model_weights/conv1_bn/conv1_bn/gamma:0" ("conv1_bn", "scale")."""
    parts = name.removeprefix("model_weights/").partition(":")[0].split("/")
    leaf = parts[-1]
    if oldest := re.fullmatch(rf"{re.escape(parts[0])}_([Wb])(_\d+)?", leaf):
        return parts[0], _OLDEST_LEAVES[oldest[1]]
    return parts[0], _LEAVES.get(leaf, leaf)


def _numbered(layers: Iterable[str]) -> dict[str, list[str]]:
    """The layers with names such as "conv2d_12", by class, in the order of their numbers: conv2d_2 before conv2d_10."""
    found: dict[str, list[tuple[int, str]]] = {}
    for layer in layers:
        if match := re.fullmatch(r"(conv2d|batch_normalization)(?:_(\d+))?", layer):
            found.setdefault(match[1], []).append((int(match[2] or 0), layer))
    return {kind: [layer for _, layer in sorted(each)] for kind, each in found.items()}


def _unit(path: Path, conv: str, norm: str, kind: str = "conv2d") -> Iterator[_Layer]:
    yield _Layer((*path, "conv"), kind, conv)
    yield _Layer((*path, "norm"), "batch_normalization", norm)


def _vgg19() -> Iterator[_Layer]:
    for stage, (_, convolutions) in enumerate(vgg.BLOCKS, start=1):
        for number in range(1, convolutions + 1):
            yield _Layer(("trunk", f"stage{stage}", f"conv{number}"), "conv2d", f"block{stage}_conv{number}")
    for path, name in (("fc6", "fc1"), ("fc7", "fc2"), ("classes", "predictions")):
        yield _Layer((path,), "dense", name)


def _mobilenet_v2() -> Iterator[_Layer]:
    yield from _unit(("trunk", "stem"), "Conv1", "bn_Conv1")
    kind = BACKBONES["mobilenet_v2"]
    assert issubclass(kind, InvertedResidualTrunk)
    for number, stage in enumerate(kind.TABLE, start=1):
        for block in (f"block{index}" for index in range(stage.blocks)):
            place = f"stage{number}"
            count = block_number("mobilenet_v2", place, block)
            prefix = f"block_{count}" if count else "expanded_conv"
            units = ["expand"] if is_expanding("mobilenet_v2", place) else []
            for unit in (*units, "depthwise", "project"):
                of_class = "depthwise_conv2d" if unit == "depthwise" else "conv2d"
                name = f"{prefix}_{unit}"
                yield from _unit(("trunk", place, block, unit), name, f"{name}_BN", of_class)
    yield from _unit(("trunk", "final"), "Conv_1", "Conv_1_bn")
    yield _Layer(("classes",), "dense", "predictions")


def _resnet50() -> Iterator[_Layer]:
    yield from _unit(("trunk", "stem"), "conv1_conv", "conv1_bn")
    for stage, (_, blocks) in enumerate(resnet.STAGES_OF_BLOCKS, start=1):
        for block in range(blocks):
            units = ("a", "b", "shortcut", "c") if block == 0 else ("a", "b", "c")  # as far from the output
            for unit in units:
                name = f"conv{stage + 1}_block{block + 1}_{['shortcut', 'a', 'b', 'c'].index(unit)}"
                yield from _unit(("trunk", f"stage{stage}", f"block{block}", unit), f"{name}_conv", f"{name}_bn")
    yield _Layer(("classes",), "dense", "predictions")


def _inception_v3() -> Iterator[_Layer]:
    created = 0
    for unit in inception_v3.STEM:
        yield from _unit(("trunk", "stem", unit.name), f"#{created}", f"#{created}")
        created += 1
    for stage, modules in inception_v3.MODULES.items():
        for module, branches in modules.items():
            units = []  # (distance from the output, number in the order of creation, name)
            for branch in branches:
                for distance, step in zip(range(len(branch), 0, -1), branch):
                    # What forks is concatenated once more before the branches are.
                    fork = not isinstance(branch[-1], inception_v3.Unit)
                    for unit in [step] if isinstance(step, inception_v3.Unit) else step:
                        units.append((distance + fork / 2, created, unit.name))
                        created += 1
            for _, number, name in sorted(units, key=lambda unit: (-unit[0], unit[1])):
                yield from _unit(("trunk", stage, module, name), f"#{number}", f"#{number}")
    yield _Layer(("classes",), "dense", "predictions")


_LAYERS = {
    "vgg19": _vgg19,
    "mobilenet_v2": _mobilenet_v2,
    "resnet50": _resnet50,
    "inception_v3": _inception_v3,
}
