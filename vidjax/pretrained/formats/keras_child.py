"""A program that copies the variables of a file of Keras, in HDF5, into a safetensors file; `read_arrays` runs it.

    python keras_child.py FILE OUT

It is a process of its own because the HDF5 library can crash on a damaged file. It imports nothing of vidjax, so that
it starts at once. What it refuses is one line on stderr, with exit status 2.

Two layouts. The older one, `.h5`, has a group by the name of each layer, and names of variables. That of Keras 3,
`.weights.h5` (and inside of `.keras`), numbers the layers of each class and the variables of each layer; the layer's
name is an attribute. Both become "LAYER/VARIABLE", e.g. "block1_conv1/kernel", with Keras 3's names of variables.
"""

import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

# Of the layers that image networks have; without a scale there are three statistics.
_VARIABLES = {
    "conv2d": ("kernel", "bias"),
    "depthwise_conv2d": ("kernel", "bias"),
    "dense": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
# Endings of Keras 1 and 2.
_RENAMED = {
    "W": "kernel",
    "b": "bias",
    "depthwise_kernel": "kernel",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
}
_MAX_DEPTH = 32  # of nested groups


class RefusedError(Exception):
    """The file is whole, but is not what Keras writes."""


def read(path: str) -> dict[str, np.ndarray]:
    """The variables of all layers, without those of an optimizer.

    Args:
      path: of the file.

    Returns:
      "LAYER/VARIABLE" -> array.

    Raises:
      RefusedError: if something in it is not an array of numbers that the file itself holds.
      Exception: of any kind, if it is damaged.
    """
    import h5py

    left = os.path.getsize(path)
    arrays: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as file:
        root = file.get("model_weights", file)
        for name, dataset in _named(root) if "layer_names" in root.attrs else _numbered(file):
            if name in arrays:
                raise RefusedError(f"has two variables of the name {name!r}")
            left -= dataset.nbytes
            is_elsewhere = dataset.external or dataset.is_virtual or dataset.file != file
            if is_elsewhere or dataset.id.get_create_plist().get_nfilters() or left < 0:
                raise RefusedError(f"{name!r} is compressed or elsewhere, which Keras never does")
            if dataset.dtype.kind not in "fiub":
                raise RefusedError(f"{name!r} is of type {dataset.dtype}, not of numbers")
            arrays[name] = dataset[()]
    return arrays


def _named(root: Any) -> Iterator[tuple[str, Any]]:
    for layer in _texts(root.attrs["layer_names"]):
        if not layer:
            continue
        group = root[layer]
        names = _texts(group.attrs["weight_names"])
        inner = {name.rpartition("/")[0] for name in names}
        for name in names:
            # A model within the model is a group with several layers.
            place = name.rpartition("/")[0] if len(inner) > 1 else layer
            yield f"{place}/{_variable(name)}", group[name]


def _variable(name: str) -> str:
    """The name of Keras 3: kernel of "conv1/kernel:0", "conv1/depthwise_kernel:0" and "block1_conv1_W_1:0"."""
    ending = re.sub(r"(_\d+)?(:\d+)?$", "", name.rpartition("/")[2])
    for known in (*_RENAMED, *(variable for names in _VARIABLES.values() for variable in names)):
        if ending == known or ending.endswith(f"_{known}"):
            return _RENAMED.get(known, known)
    return ending


def _numbered(root: Any, depth: int = 0) -> Iterator[tuple[str, Any]]:
    if depth > _MAX_DEPTH:
        raise RefusedError("its groups are nested too deeply")
    for name in root:
        link = root.get(name, getlink=True)
        if type(link).__name__ != "HardLink":
            raise RefusedError(f"{name!r} is a link to elsewhere")
        group = root[name]
        if name == "vars":
            yield from _variables(root, group)
        elif hasattr(group, "keys") and not (depth == 0 and name == "optimizer"):
            yield from _numbered(group, depth + 1)


def _variables(layer: Any, group: Any) -> Iterator[tuple[str, Any]]:
    """The variables of a layer; in early versions, which do not say its name, by their paths in the file."""
    own = layer.name.rpartition("/")[2]
    known = _VARIABLES.get(re.sub(r"_\d+$", "", own), ())
    if len(group) == 3 and len(known) == 4:
        known = known[1:]  # as in Keras' InceptionV3, whose normalization has no scale
    for number in group:
        if "name" in group.attrs:
            [name] = _texts([group.attrs["name"]])
            place = int(number)
            yield f"{name}/{known[place] if place < len(known) else number}", group[number]
        else:
            yield f"{layer.name.removeprefix('/')}/vars/{number}", group[number]


def _texts(values: Any) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def main(path: str, out: str) -> int:
    """Copies, and returns the exit status."""
    from safetensors.numpy import save_file

    try:
        save_file({name: np.asarray(array, order="C") for name, array in read(path).items()}, out)
    except RefusedError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
