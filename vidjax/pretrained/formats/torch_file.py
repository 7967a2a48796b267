"""Files that `torch.save` wrote, read without PyTorch: zip archives, and the older ones, a sequence of pickles.

Their pickle is read by stand-ins (`strict_pickle`): the functions that rebuild dense tensors, and what must be skipped
beside them. A tensor is a view of a storage, numbers in a part of the file of their own. Only the storages of the
tensors that are wanted are read, and nothing is larger than the file: a tensor that repeats numbers stays a view.
"""

import dataclasses
import functools
import io
import zipfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.stride_tricks import as_strided

from vidjax.pretrained.formats.strict_pickle import (
    Discarded,
    OrderedDict,
    StandIn,
    StrictUnpickler,
    UnpicklingError,
)

MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the pickled number that the older files begin with

_PARTS = ("model_state", "state_dict")  # PySlowFast and pytorchvideo; many other trainers
_WRAPPER = "module."  # before all names, if the network was saved within DataParallel or DistributedDataParallel
_WANTED_FOR = "dense tensors of numbers"
_BFLOAT16 = "BFloat16"
_KINDS = {
    "Double": "f8",
    "Float": "f4",
    "Half": "f2",
    _BFLOAT16: "u2",  # which NumPy does not have
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
}


def read_zip(archive: zipfile.ZipFile, size: int) -> dict[str, np.ndarray]:
    """The tensors of an archive of `torch.save`, since PyTorch 1.6.

    Args:
      archive: with a member "NAME/data.pkl".
      size: of the file, in bytes.

    Returns:
      name -> array, which can be a read-only view; bfloat16 is widened to float32.

    Raises:
      UnpicklingError: in one line, if it holds other things than dense tensors.
      Exception: of any kind, if it is damaged.
    """
    pickles = [name for name in archive.namelist() if is_pickle(name)]
    if len(pickles) != 1:
        raise UnpicklingError(f"it has {len(pickles)} pickles instead of one")
    prefix = pickles[0].removesuffix("data.pkl")
    read = _MemberReader(archive, size)
    is_big = f"{prefix}byteorder" in archive.namelist() and read(f"{prefix}byteorder") == b"big"

    def content_of(kind: str, key: str) -> np.ndarray:
        return np.frombuffer(read(f"{prefix}data/{key}"), _dtype(kind, is_big))

    storages = _Storages(content_of)
    content = _unpickled(io.BytesIO(read(pickles[0])), storages.refer)
    return _state(content)


def is_pickle(member: str) -> bool:
    """Whether a member of an archive is the pickle of `torch.save`: "data.pkl" in the one folder."""
    return member.count("/") == 1 and member.endswith("/data.pkl")


def read_sequence(content: bytes) -> dict[str, np.ndarray]:
    """The tensors of a file of `torch.save` before PyTorch 1.6.

    Args:
      content: of the file, which begins with `MAGIC`.

    Returns:
      As `read_zip`.

    Raises:
      UnpicklingError, Exception: as `read_zip`.
    """
    file = io.BytesIO(content)
    unpickle = functools.partial(_unpickled, file)
    unpickle()  # the magic number
    if (version := unpickle()) != 1001:
        raise UnpicklingError(f"it has version {str(version)[:20]} instead of 1001")
    is_big = not unpickle()["little_endian"]
    places: dict[str, tuple[int, int]] = {}

    def content_of(kind: str, key: str) -> np.ndarray:
        begin, numel = places[key]
        return np.frombuffer(content, _dtype(kind, is_big), numel, begin)

    storages = _Storages(content_of)
    saved = unpickle(storages.refer)
    for key in unpickle():
        numel = int.from_bytes(file.read(8), "big" if is_big else "little", signed=True)
        begin, end = file.tell(), file.tell() + numel * _dtype(storages.kinds[key], is_big).itemsize
        if numel < 0 or end > len(content):
            raise UnpicklingError(f"storage {str(key)[:20]!r} ends after the file")
        places[key] = begin, numel
        file.seek(end)
    return _state(saved)


class _MemberReader:
    """Reads members of an archive, which together cannot be longer than the archive itself."""

    def __init__(self, archive: zipfile.ZipFile, size: int):
        self._archive, self._left = archive, size

    def __call__(self, name: str) -> bytes:
        info = self._archive.getinfo(name)
        self._left -= info.file_size
        if info.compress_type != zipfile.ZIP_STORED or self._left < 0:
            raise UnpicklingError(f"its part {name[:80]!r} is compressed, which torch.save never does")
        return self._archive.read(info)  # verifies its checksum


@dataclasses.dataclass(frozen=True)
class _Storage:
    """Numbers that tensors are views of: `numel` of them, from `first` on, in the root storage of that key."""

    root: Callable[[], np.ndarray]
    numel: int
    first: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self) -> np.ndarray:
        """A view of the storage.

        Raises:
          UnpicklingError: if the storage is too short.
        """
        numbers = self.storage.root()[self.storage.first :][: self.storage.numel]
        if len(numbers) < self.storage.numel:
            raise UnpicklingError(f"a storage has {len(numbers)} numbers instead of {self.storage.numel}")
        if 0 in self.shape:
            return np.zeros(self.shape, numbers.dtype)
        last = self.first + sum((extent - 1) * stride for extent, stride in zip(self.shape, self.strides))
        if last >= len(numbers):
            raise UnpicklingError(f"a tensor of shape {self.shape} is larger than its storage ({len(numbers)})")
        steps = tuple(stride * numbers.itemsize for stride in self.strides)
        return as_strided(numbers[self.first :], self.shape, steps, writeable=False)


class _Storages:
    """What a pickle refers to outside of itself.

    Args:
      content_of: (kind, key) -> all numbers of a storage; called once, when they are needed.
    """

    def __init__(self, content_of: Callable[[str, str], np.ndarray]):
        self._content_of = content_of
        self._roots: dict[str, Callable[[], np.ndarray]] = {}
        self.kinds: dict[str, str] = {}

    def refer(self, pid: Any) -> _Storage:
        """The storage of ("storage", kind, key, device, numel), with a view of it in the older files.

        Raises:
          UnpicklingError: if it is something else.
        """
        label, kind, key, _, numel, *view = pid
        if label != "storage" or not isinstance(kind, _StorageKind) or not isinstance(key, str):
            raise UnpicklingError("it refers to something else than a storage")
        if self.kinds.setdefault(key, kind.name) != kind.name:
            raise UnpicklingError(f"storage {key[:20]!r} is of two types")
        if key not in self._roots:
            self._roots[key] = functools.cache(functools.partial(self._numbers, kind.name, key))
        first = 0
        if view and view[0] is not None:
            _, first, numel = view[0]
        return _Storage(self._roots[key], _size(numel), _size(first))

    def _numbers(self, kind: str, key: str) -> np.ndarray:
        numbers = self._content_of(kind, key)
        if kind == _BFLOAT16:
            return (numbers.astype(np.uint32) << 16).view(np.float32)
        return numbers


@dataclasses.dataclass(frozen=True)
class _StorageKind:
    """Stands for a class such as `torch.FloatStorage`."""

    name: str

    def __setstate__(self, state: Any) -> None:
        raise UnpicklingError("it changes a class")


class _Parameter:
    """Stands for a parameter that PyTorch 0.3 or older pickled as an object with a state."""

    def __init__(self, tensor: Any = None, *others: Any):
        self.tensor = tensor

    def __setstate__(self, state: Any) -> None:
        self.tensor = state[0]


def _rebuild(storage: Any, first: Any, shape: Any, strides: Any, *others: Any) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise UnpicklingError("a tensor has no storage")
    tensor = _Tensor(storage, _size(first), _sizes(shape), _sizes(strides))
    if len(tensor.shape) != len(tensor.strides):
        raise UnpicklingError("a tensor has as many strides as axes")
    return tensor


def _sizes(values: Iterable[Any]) -> tuple[int, ...]:
    return tuple(map(_size, values))


def _size(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise UnpicklingError("a size is no natural number")
    return value


_STAND_INS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): StandIn(_rebuild),  # up to PyTorch 0.3
    ("torch._utils", "_rebuild_tensor_v2"): StandIn(_rebuild),
    ("torch._utils", "_rebuild_parameter"): StandIn(lambda tensor, *others: tensor),
    ("torch.nn.parameter", "Parameter"): _Parameter,
    # Numbers that trainers keep beside the parameters.
    ("numpy", "dtype"): Discarded,
    ("numpy.core.multiarray", "scalar"): Discarded,
    ("numpy._core.multiarray", "scalar"): Discarded,
    ("_codecs", "encode"): Discarded,
}
_STAND_INS |= {(module, f"{name}Storage"): _StorageKind(name) for module in ("torch", "torch.cuda") for name in _KINDS}


def _dtype(kind: str, is_big: bool) -> np.dtype:
    return np.dtype(_KINDS[kind]).newbyteorder(">" if is_big else "<")


def _unpickled(file: BinaryIO, refer: Callable[[Any], _Storage] | None = None) -> Any:
    return StrictUnpickler(file, _STAND_INS, _WANTED_FOR, "utf-8", refer).load()


def _state(content: Any) -> dict[str, np.ndarray]:
    """The arrays of the parameters, wherever a trainer keeps them."""
    tensors: Any = content
    if isinstance(content, Mapping):
        tensors = next((content[part] for part in _PARTS if isinstance(content.get(part), Mapping)), content)
    if not isinstance(tensors, Mapping) or not tensors:
        raise UnpicklingError("it contains no mapping of names to tensors")
    arrays = {}
    for name, value in tensors.items():
        tensor = value.tensor if isinstance(value, _Parameter) else value
        kind = type(tensor).__name__.lstrip("_")
        if not isinstance(name, str):
            raise UnpicklingError(f"the name of a {kind} is {str(name)[:80]}, which is no text")
        if not isinstance(tensor, _Tensor):
            raise UnpicklingError(f"{name[:80]!r} is a {kind}, not a tensor")
        try:
            arrays[name] = tensor.array()
        except UnpicklingError as error:
            raise UnpicklingError(f"{name[:80]!r}: {error}") from error
    if all(name.startswith(_WRAPPER) for name in arrays):
        return {name.removeprefix(_WRAPPER): array for name, array in arrays.items()}
    return arrays
