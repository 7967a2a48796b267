"""Weights in vidjax's own layout: safetensors whose names are the paths of variables, "params/stem/conv/kernel".

The metadata of a file, texts by name, say what network it is for. Those of converted published weights are kept in the
cache folder. A file is written under another name first, and its contents are verified when it is read.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vidjax.errors import DataError
from vidjax.pretrained.formats import Arrays, read_arrays
from vidjax.system.paths import cache_dir

LAYOUT = "vidjax"  # value of the key "layout"


def path_of(name: str) -> Path:
    """Where the converted weights of a name of the catalog are kept."""
    return cache_dir() / "weights" / f"{name}.safetensors"


def content_hash(variables: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, shapes and numbers, whatever file they are in."""
    digest = hashlib.sha256()
    for name in sorted(variables):
        array = np.asarray(variables[name])
        digest.update(f"{name} {array.dtype.name} {array.shape} ".encode())
        digest.update(np.asarray(array, order="C").data)
    return digest.hexdigest()


def write(path: Path, variables: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes a file whole or not at all; makes its folder.

    Args:
      path: of the file.
      variables: path -> array.
      metadata: what `Info.metadata` gives, for example; the layout and the hash of the contents are added.
    """
    from safetensors.numpy import save_file

    # The library saves the memory of an array: that of a transposed view would come back in another order.
    arrays = {name: np.asarray(array, order="C") for name, array in variables.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        save_file(arrays, partial, {**metadata, "layout": LAYOUT, "sha256": content_hash(arrays)})
        partial.chmod(0o644)  # the library makes files that nobody else can read
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read(path: str | os.PathLike[str]) -> Arrays:
    """Reads a file that `write` wrote.

    Raises:
      DataError: names the file, if it cannot be read, is of another layout, or is damaged.
    """
    found = read_arrays(path)
    if not is_own(found):
        raise DataError(f"{os.fspath(path)}: is not in vidjax's own layout")
    check(path, found)
    return found


def is_own(found: Arrays) -> bool:
    """Whether a file is in this layout."""
    return found.metadata.get("layout") == LAYOUT


def check(path: str | os.PathLike[str], found: Arrays) -> None:
    """Refuses contents that are not those that were written.

    Raises:
      DataError: names the file.
    """
    if content_hash(found.arrays) != found.metadata.get("sha256"):
        raise DataError(f"{os.fspath(path)}: is damaged: its contents are not those that were written")
