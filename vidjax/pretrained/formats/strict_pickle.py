"""Pickles read as data: nothing that a file names is imported, and only stand-ins given by the caller are called.

A pickle is a program that can call anything. Of Python's two readers, this is the one written in Python: the one in C
reserves memory for lengths and numbers that a damaged file merely claims, before it looks for the bytes.
"""

import pickle
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, ClassVar

UnpicklingError = pickle.UnpicklingError


class StandIn:
    """Stands for a function that a pickle may call; a pickle can neither change nor instantiate it.

    Args:
      call: what is called instead, with the arguments in the file, which can be anything.
    """

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]):
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise UnpicklingError("it changes a function")


class Discarded:
    """Stands for an object that is of no interest: accepts everything and keeps nothing."""

    def __init__(self, *arguments: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class OrderedDict(dict[Any, Any]):
    """Stands for `collections.OrderedDict`, whose attributes (the versions of PyTorch's modules) are left out."""

    def __init__(self, pairs: Any = ()):
        if not isinstance(pairs, list | tuple):
            raise UnpicklingError("a dictionary is made of something else than pairs")
        super().__init__(pairs)
        if isinstance(pairs, list):
            pairs.clear()  # used once, so that many dictionaries of the same long list cannot fill the memory

    def __setstate__(self, state: Any) -> None:
        pass


class StrictUnpickler(pickle._Unpickler):
    """Unpickles what consists of containers, strings, numbers and the given stand-ins.

    Args:
      file: read from its position to the end of the pickle.
      stand_ins: (module, name) -> what is used in its place.
      wanted_for: completes "..., which {wanted_for} do not need", for what is refused.
      encoding: of strings that Python 2 pickled.
      persistent_load: what stands for an object outside of the pickle; None: there must be none.
    """

    # A bytearray would get whatever length a file claims; arrays are not kept in it.
    dispatch: ClassVar[dict[int, Any]] = {
        code: load for code, load in pickle._Unpickler.dispatch.items() if code != pickle.BYTEARRAY8[0]
    }

    def __init__(
        self,
        file: BinaryIO,
        stand_ins: Mapping[tuple[str, str], Any],
        wanted_for: str,
        encoding: str = "ascii",
        persistent_load: Callable[[Any], Any] | None = None,
    ):
        super().__init__(file, encoding=encoding)
        self._stand_ins, self._wanted_for, self._outside = stand_ins, wanted_for, persistent_load

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in.

        Raises:
          UnpicklingError: names what has none.
        """
        try:
            return self._stand_ins[module, name]
        except KeyError:
            wanted = f"{module}.{name}"[:80]
            raise UnpicklingError(f"it refers to {wanted!r}, which {self._wanted_for} do not need") from None

    def persistent_load(self, pid: Any) -> Any:
        """What the caller says that an object outside of the pickle is."""
        if self._outside is None:
            raise UnpicklingError("it refers to an object outside of the file")
        return self._outside(pid)
