"""Safe reading of pickled NumPy arrays: untrusted files cannot run code.

A pickle is a program that can call anything. Here it can only build dictionaries, lists, tuples, strings and numbers,
and call the three names that pickled NumPy arrays use. Even these are stand-ins for NumPy's, which check their
arguments and make numeric arrays only.
"""

import math
import os
import pickle
from typing import Any

import numpy as np

from vidjax.errors import DataError

_KINDS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


def read(path: str | os.PathLike[str]) -> Any:
    """Reads a pickle of arrays of numbers in plain containers, of protocol 3 or 4.

    Args:
      path: of the file.

    Returns:
      What was pickled, e.g. nested dictionaries of arrays.

    Raises:
      DataError: in one line that names the file, if it cannot be read, is not a complete pickle, or refers to anything
        else, which is neither called nor imported.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            return _materialize(_Unpickler(file).load())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or 'cannot be read'}") from error
    except pickle.UnpicklingError as error:
        raise DataError(f"{path}: refused: {error}") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{path}: is not a pickle of arrays, or is damaged ({type(error).__name__})") from error


class _DType:
    """Stands for `numpy.dtype`: called with a kind, e.g. "f4"; its state has the byte order in second place."""

    def __init__(self, kind: Any, align: Any = False, copy: Any = True):
        if kind not in _KINDS:
            raise pickle.UnpicklingError(f"arrays of type {str(kind)[:40]!r} are not numbers")
        self._kind, self._order = kind, "|"

    def __setstate__(self, state: Any) -> None:
        self._order = state[1]
        if self._order not in ("<", ">", "|") or any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("an array has a structured type")

    def numpy(self) -> np.dtype:
        """What it stands for."""
        return np.dtype(self._order + self._kind)


class _NDArray:
    """Stands for `numpy.ndarray`, empty until its state comes: (version, shape, dtype, column-major, bytes)."""

    array: np.ndarray

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, content = state
        if not isinstance(dtype, _DType) or not isinstance(content, bytes) or not isinstance(shape, tuple):
            raise pickle.UnpicklingError("an array is not made of bytes")
        numbers = np.frombuffer(content, dtype.numpy())
        if min(shape, default=0) < 0 or math.prod(shape) != numbers.size:
            raise pickle.UnpicklingError(f"an array of shape {shape} has {numbers.size} elements")
        self.array = numbers.reshape(shape, order="F" if is_fortran else "C")


def _reconstruct(kind: Any, shape: Any, letter: Any) -> _NDArray:
    if kind is not _NDArray:
        raise pickle.UnpicklingError("an array is of another class than numpy.ndarray")
    return _NDArray()


_ALLOWED_GLOBALS = {
    ("numpy", "ndarray"): _NDArray,
    ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,  # up to NumPy 1
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED_GLOBALS[module, name]
        except KeyError:
            wanted = f"{module}.{name}"[:80]
            raise pickle.UnpicklingError(f"it refers to {wanted!r}, which numeric arrays do not need") from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to an object outside of the file")


def _materialize(content: Any) -> Any:
    """Replaces the stand-ins by arrays."""
    match content:
        case _NDArray():
            return content.array
        case dict():
            return {key: _materialize(value) for key, value in content.items()}
        case list() | tuple():
            return type(content)(_materialize(value) for value in content)
        case str() | bytes() | int() | float() | None:
            return content
    raise pickle.UnpicklingError(f"it contains a {type(content).__name__.lstrip('_')} besides its arrays")
