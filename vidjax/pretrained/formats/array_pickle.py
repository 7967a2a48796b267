"""Safe reading of pickled NumPy arrays: untrusted files cannot run code.

Only dictionaries, lists, tuples, strings and numbers can be built, and only the three names that pickled NumPy arrays
use are called. Even these are stand-ins for NumPy's, which check their arguments and make numeric arrays only.
"""

import io
import math
import os
from typing import Any

import numpy as np

from vidjax.errors import DataError
from vidjax.pretrained.formats.strict_pickle import StandIn, StrictUnpickler, UnpicklingError

_KINDS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


def read(path: str | os.PathLike[str], *, is_python2: bool = False) -> Any:
    """Reads a pickle of arrays of numbers in plain containers.

    Args:
      path: of the file.
      is_python2: whether Python 2 may have written it, whose strings can be bytes or, as here, text in Latin-1.

    Returns:
      What was pickled, e.g. nested dictionaries of arrays.

    Raises:
      DataError: in one line that names the file, if it cannot be read, is not a complete pickle, or refers to anything
        else, which is neither called nor imported.
    """
    path = os.fspath(path)
    stand_ins = _STAND_INS | (_PYTHON2 if is_python2 else {})
    encoding = "latin1" if is_python2 else "ascii"
    try:
        with open(path, "rb") as file:
            content = io.BytesIO(file.read())
        return _Materialized().of(StrictUnpickler(content, stand_ins, "numeric arrays", encoding).load())
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or 'cannot be read'}") from error
    except UnpicklingError as error:
        raise DataError(f"{path}: refused: {error}") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{path}: is not a pickle of arrays, or is damaged ({type(error).__name__})") from error


class _DType:
    """Stands for `numpy.dtype`: called with a kind, e.g. "f4"; its state has the byte order in second place."""

    def __init__(self, kind: Any, align: Any = False, copy: Any = True):
        if kind not in _KINDS:
            raise UnpicklingError(f"arrays of type {str(kind)[:40]!r} are not numbers")
        self._kind, self._order = kind, "|"

    def __setstate__(self, state: Any) -> None:
        self._order = state[1]
        if self._order not in ("<", ">", "|") or any(part is not None for part in state[2:5]):
            raise UnpicklingError("an array has a structured type")

    def numpy(self) -> np.dtype:
        """What it stands for."""
        return np.dtype(self._order + self._kind)


class _NDArray:
    """Stands for `numpy.ndarray`, empty until its state comes: (version, shape, dtype, column-major, bytes)."""

    array: np.ndarray

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, content = state
        if isinstance(content, str):
            content = content.encode("latin1")  # bytes of Python 2, which were decoded so
        if not isinstance(dtype, _DType) or not isinstance(content, bytes) or not isinstance(shape, tuple):
            raise UnpicklingError("an array is not made of bytes")
        numbers = np.frombuffer(content, dtype.numpy())
        if min(shape, default=0) < 0 or math.prod(shape) != numbers.size:
            raise UnpicklingError(f"an array of shape {shape} has {numbers.size} elements")
        self.array = numbers.reshape(shape, order="F" if is_fortran else "C")


def _reconstruct(kind: Any, shape: Any, letter: Any) -> _NDArray:
    if kind is not _NDArray:
        raise UnpicklingError("an array is of another class than numpy.ndarray")
    return _NDArray()


def _encode(text: Any, encoding: Any) -> bytes:
    """How Python 3 writes bytes in the protocol of Python 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise UnpicklingError("it encodes something else than bytes")
    return text.encode("latin1")


_STAND_INS = {
    ("numpy", "ndarray"): _NDArray,
    ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "_reconstruct"): StandIn(_reconstruct),  # up to NumPy 1
    ("numpy._core.multiarray", "_reconstruct"): StandIn(_reconstruct),
}
_PYTHON2 = {("_codecs", "encode"): StandIn(_encode)}


class _Materialized:
    """Replaces the stand-ins by arrays, each container once: one may be referred to from many places."""

    def __init__(self) -> None:
        self._done: dict[int, Any] = {}

    def of(self, content: Any) -> Any:
        """What a part stands for."""
        if id(content) not in self._done:
            self._done[id(content)] = self._made(content)
        return self._done[id(content)]

    def _made(self, content: Any) -> Any:
        match content:
            case _NDArray():
                return content.array
            case dict():
                return {key: self.of(value) for key, value in content.items()}
            case list() | tuple():
                return type(content)(self.of(value) for value in content)
            case str() | bytes() | int() | float() | None:
                return content
        raise UnpicklingError(f"it contains a {type(content).__name__.lstrip('_')} besides its arrays")
