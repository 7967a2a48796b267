"""Plans: convolutions that oneDNN has prepared for one shape, kept for the calls to come.

Arrays are channels-last and stay so; kernels are brought into the layout that oneDNN prefers, and their gradients back.
A plan and the memory that it works in belong to one call at a time; concurrent calls get their own.
"""

import collections
import contextlib
import ctypes
import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from vidjax.layers.cpu.geometry import ConvolutionGeometry
from vidjax.layers.cpu.onednn.shared_library import Library

MAX_PLANS = 512
MAX_KEPT_BYTES = 1 << 28  # of one piece of working memory; larger ones are freed after the call
_MIN_SHARED_BYTES = 1 << 20  # of a kernel that several threads bring into another layout
_MIN_SHARED_PRODUCTS = 1 << 26  # of a kernel gradient that several threads compute

_MAX_RANK = 3  # spatial axes
MAX_NUMBERS = 9 + 7 * _MAX_RANK  # of an encoded request
PASSES = ("y", "x", "kernel")  # what is computed: the convolution, the gradient of its input or of its kernel

# Constants of oneDNN 3.
_F32, _ANY, _TRAINING, _DIRECT, _IN_ORDER = 3, 1, 64, 1, 1
_IMPLEMENTATION = 8
_WEIGHTS, _DIFF_WEIGHTS, _SCRATCHPAD = 131, 132, 136
_SRC, _DST, _WEIGHTS_ARG, _SCRATCHPAD_ARG, _DIFF_SRC, _DIFF_DST, _DIFF_WEIGHTS_ARG = 1, 17, 33, 80, 129, 145, 161
_MAX_AXES = 12
_ALIGNMENT = 4096

_Dims = ctypes.c_int64 * _MAX_AXES


class _Argument(ctypes.Structure):
    """`dnnl_exec_arg_t`."""

    _fields_ = [("number", ctypes.c_int), ("memory", ctypes.c_void_p)]


@dataclasses.dataclass(frozen=True)
class Request:
    """A convolution in the numbers that a compiled program passes.

    Attributes:
      computed: one of `PASSES`.
      geometry: of the convolution.
      x, kernel, y: shapes, channels last.
    """

    computed: str
    geometry: ConvolutionGeometry
    x: tuple[int, ...]
    kernel: tuple[int, ...]
    y: tuple[int, ...]

    def encode(self) -> np.ndarray:
        """As int64 numbers."""
        geometry = self.geometry
        padding = (before_or_after for pair in geometry.padding for before_or_after in pair)
        head = (PASSES.index(self.computed), geometry.groups, len(geometry.strides))
        shapes = (*self.x, *self.kernel, *self.y)
        return np.array([*head, *shapes, *geometry.strides, *padding, *geometry.dilation], np.int64)

    @property
    def products(self) -> int:
        """Multiplications of a number of the input by one of the kernel, padding included."""
        return math.prod(self.y) * math.prod(self.kernel[:-1])

    @classmethod
    def decode(cls, data: bytes) -> "Request":
        """The request that was encoded as these bytes.

        Raises:
          ValueError: if there are too few or too many of them, or they are no request.
        """
        numbers = np.frombuffer(data, np.int64).tolist() if len(data) % 8 == 0 else []
        if len(numbers) < 3 or not 1 <= (rank := numbers[2]) <= _MAX_RANK or len(numbers) != 9 + 7 * rank:
            raise ValueError(f"{len(data)} bytes are no convolution")
        lengths = (rank + 2, rank + 2, rank + 2, rank, 2 * rank, rank)
        ends = np.cumsum((3, *lengths))
        x, kernel, y, strides, padding, dilation = (
            tuple(numbers[end - n : end]) for n, end in zip(lengths, ends[1:], strict=True)
        )
        if not 0 <= numbers[0] < len(PASSES) or min(numbers[1], *x, *kernel, *y, *strides, *dilation) < 1:
            raise ValueError(f"{numbers} are no convolution")
        pairs = tuple(zip(padding[::2], padding[1::2]))
        return cls(PASSES[numbers[0]], ConvolutionGeometry(strides, pairs, dilation, numbers[1]), x, kernel, y)


class _Descriptions:
    """oneDNN's descriptions of a convolution and of its arrays; closed after use."""

    def __init__(self, library: Library, request: Request) -> None:
        """Describes a convolution.

        Raises:
          RuntimeError: if oneDNN has none like it.
        """
        self._library = library
        self._memories: list[int] = []
        self._primitives: list[int] = []
        geometry = request.geometry
        try:
            self.x, self.y = (self._strided(*_channels_second(shape)) for shape in (request.x, request.y))
            shape, strides = _kernel_layout(request.kernel, geometry.groups)
            self.kernel = self._strided(shape, strides)
            any_layout = self._memory("memory_desc_create_with_tag", shape, _ANY)
            where = (
                _Dims(*geometry.strides),
                _Dims(*(step - 1 for step in geometry.dilation)),
                _Dims(*(before for before, _ in geometry.padding)),
                _Dims(*(after for _, after in geometry.padding)),
            )
            attributes = library.attributes

            def describe(name: str, *arguments: object) -> int:
                description = library.create(f"convolution_{name}_primitive_desc", library.engine, *arguments)
                self._primitives.append(description)
                return description

            arrays = (self.x, any_layout)
            forward = describe("forward", _TRAINING, _DIRECT, *arrays, None, self.y, *where, attributes)
            if request.computed == "x":
                forward = describe("backward_data", _DIRECT, *arrays, self.y, *where, forward, attributes)
            elif request.computed == "kernel":
                forward = describe("backward_weights", _DIRECT, *arrays, None, self.y, *where, forward, attributes)
            self.convolution = forward
            self.preferred = library.query_memory(forward, _DIFF_WEIGHTS if request.computed == "kernel" else _WEIGHTS)
            self.scratch = library.query_memory(forward, _SCRATCHPAD)
        except RuntimeError:
            self.close()
            raise

    def _memory(self, name: str, shape: Sequence[int], *layout: object) -> int:
        description = self._library.create(name, len(shape), _Dims(*shape), _F32, *layout)
        self._memories.append(description)
        return description

    def _strided(self, shape: Sequence[int], strides: Sequence[int]) -> int:
        return self._memory("memory_desc_create_with_strides", shape, _Dims(*strides))

    def close(self) -> None:
        for description in reversed(self._primitives):
            self._library.call("primitive_desc_destroy", description)
        for description in self._memories:
            self._library.call("memory_desc_destroy", description)


def _dense(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def _channels_second(shape: Sequence[int]) -> tuple[list[int], list[int]]:
    """Shape and strides in oneDNN's order of axes, [N, C, *spatial], of an array that is channels-last in memory."""
    return tuple([values[0], values[-1], *values[1:-1]] for values in (shape, _dense(shape)))  # type: ignore[return-value]


def _kernel_layout(shape: Sequence[int], groups: int) -> tuple[list[int], list[int]]:
    """The same of a kernel: [features, C, *extent], with groups [groups, features / groups, C / groups, *extent]."""
    *extent, inputs, features = shape
    steps = _dense(shape)[:-2]
    if groups == 1:
        return [features, inputs, *extent], [1, features, *steps]
    each = features // groups
    return [groups, each, inputs, *extent], [each, 1, features, *steps]


def implementation(library: Library, request: Request) -> str | None:
    """The name of oneDNN's implementation, such as "jit:avx512_core"; None if it has none."""
    try:
        descriptions = _Descriptions(library, request)
    except RuntimeError:
        return None
    try:
        return library.query_text(descriptions.convolution, _IMPLEMENTATION)
    finally:
        descriptions.close()


class Workspace:
    """Memory for the kernel in oneDNN's layout and for intermediate results, and a stream; grows to what plans need."""

    def __init__(self, library: Library) -> None:
        self.stream = library.create("stream", library.engine, _IN_ORDER)
        self._buffer, self.size, self.address = np.empty(0, np.uint8), 0, 0

    def reserve(self, size: int) -> int:
        """The address of at least as many bytes."""
        if size > self.size:
            self.release()
            self._buffer = np.empty(size + _ALIGNMENT, np.uint8)
            self.size, self.address = size, _aligned(self._buffer.ctypes.data)
        return self.address

    def release(self) -> None:
        """Frees the memory."""
        self._buffer, self.size, self.address = np.empty(0, np.uint8), 0, 0


def _aligned(number: int) -> int:
    return -(-number // _ALIGNMENT) * _ALIGNMENT


class PreparedConvolution:
    """A prepared convolution, for one call at a time."""

    def __init__(self, library: Library, request: Request) -> None:
        self._library = library
        self._memories: list[int] = []
        self._primitives: list[int] = []
        # Threads that sum a kernel gradient wait for one another at full load, for as long as a busy machine keeps one
        # of them from running. XLA computes small ones beside other operations.
        is_small = request.computed == "kernel" and request.products < _MIN_SHARED_PRODUCTS
        self._threads = 1 if is_small else library.threads
        library.set_threads(self._threads)  # which the preparation depends on
        descriptions = _Descriptions(library, request)
        try:
            self._prepare(request, descriptions)
        except RuntimeError:
            self.close()
            raise
        finally:
            descriptions.close()

    def _prepare(self, request: Request, descriptions: _Descriptions) -> None:
        library, computed = self._library, request.computed
        x, y, kernel = map(self._memory, (descriptions.x, descriptions.y, descriptions.kernel))
        scratch = self._memory(descriptions.scratch)
        self._reorder = 0
        used, self._kernel_bytes = kernel, 0
        if not library.equal(descriptions.preferred, descriptions.kernel):
            used = self._memory(descriptions.preferred)
            self._kernel_bytes = _aligned(library.size(descriptions.preferred))
            pair = (descriptions.kernel, descriptions.preferred)
            # A small one is reordered by the calling thread, faster than others would wake or the GIL be got back.
            is_large = self._kernel_bytes >= _MIN_SHARED_BYTES
            self._reorder_threads = self._threads if is_large else 1
            self._execute_reorder = library.execute if is_large else library.execute_shortly
            library.set_threads(self._reorder_threads)
            self._reorder = self._reordering(*(reversed(pair) if computed == "kernel" else pair))
            library.set_threads(self._threads)
            between = (used, kernel) if computed == "kernel" else (kernel, used)
            self._reorder_arguments = (_Argument * 2)(_Argument(_SRC, between[0]), _Argument(_DST, between[1]))
            self._reorder_address = ctypes.addressof(self._reorder_arguments)
        self.bytes = self._kernel_bytes + library.size(descriptions.scratch)
        self._convolution = self._primitive(descriptions.convolution)
        numbers = {
            "y": (_SRC, _WEIGHTS_ARG, _DST),
            "x": (_DIFF_SRC, _WEIGHTS_ARG, _DIFF_DST),
            "kernel": (_SRC, _DIFF_WEIGHTS_ARG, _DIFF_DST),
        }[computed]
        pairs = zip((*numbers, _SCRATCHPAD_ARG), (x, used, y, scratch))
        self._arguments = (_Argument * 4)(*(_Argument(*pair) for pair in pairs))
        self._address = ctypes.addressof(self._arguments)
        self._is_kernel_computed = computed == "kernel"
        # The memories whose data a call names, in its order of arguments and result, and those in the workspace.
        own = {"y": (x, kernel, y), "x": (kernel, y, x), "kernel": (x, y, kernel)}[computed]
        self._ordered = (*own, scratch, *((used,) if self._reorder else ()))
        self._data: list[int] = [0] * len(self._ordered)

    def _memory(self, description: int) -> int:
        memory = self._library.create("memory", description, self._library.engine, None)
        self._memories.append(memory)
        return memory

    def _primitive(self, description: int) -> int:
        primitive = self._library.create("primitive", description)
        self._primitives.append(primitive)
        return primitive

    def _reordering(self, source: int, target: int) -> int:
        engine = self._library.engine
        description = self._library.create("reorder_primitive_desc", source, engine, target, engine, None)
        try:
            return self._primitive(description)
        finally:
            self._library.call("primitive_desc_destroy", description)

    def run(self, workspace: Workspace, data: list[int]) -> None:
        """Computes.

        Args:
          workspace: for this call alone.
          data: addresses of the two operands and of the result.

        Raises:
          RuntimeError: if oneDNN fails.
        """
        library, stream = self._library, workspace.stream
        start = workspace.reserve(self.bytes)
        data = [*data, start + self._kernel_bytes, start]
        for number, memory in enumerate(self._ordered):
            if self._data[number] != data[number]:
                library.set_data(memory, data[number])
                self._data[number] = data[number]
        status = 0
        if self._reorder and not self._is_kernel_computed:
            status = self._run_reorder(stream)
        library.set_threads(self._threads)
        status = status or library.execute(self._convolution, stream, 4, self._address)
        if self._reorder and self._is_kernel_computed:
            status = status or self._run_reorder(stream)
        if status:
            raise RuntimeError(f"oneDNN: a convolution returned status {status}")

    def _run_reorder(self, stream: int) -> int:
        self._library.set_threads(self._reorder_threads)
        return self._execute_reorder(self._reorder, stream, 2, self._reorder_address)

    def close(self) -> None:
        """Frees what oneDNN holds for it."""
        for primitive in self._primitives:
            self._library.call("primitive_destroy", primitive)
        for memory in self._memories:
            self._library.call("memory_destroy", memory)


class Plans:
    """The plans of a process, for calls of any threads, by encoded requests.

    No lock is held: single operations of lists and dictionaries are atomic.
    """

    def __init__(self, library: Library) -> None:
        self._library = library
        self._idle: collections.OrderedDict[bytes, list[PreparedConvolution]] = collections.OrderedDict()
        self._workspaces: list[Workspace] = []

    def run(self, encoded: bytes, data: list[int]) -> None:
        """Computes what a request says.

        Args:
          encoded: of `Request.encode`.
          data: addresses of the two operands and of the result.

        Raises:
          ValueError: if there is no such request.
          RuntimeError: if oneDNN fails.
        """
        plan = self._take(encoded)
        try:
            workspace = self._workspaces.pop()
        except IndexError:
            workspace = Workspace(self._library)
        try:
            plan.run(workspace, data)
        finally:
            self._library.free_team()
            if workspace.size > MAX_KEPT_BYTES:
                workspace.release()
            self._workspaces.append(workspace)
            self._idle.setdefault(encoded, []).append(plan)

    def _take(self, encoded: bytes) -> PreparedConvolution:
        try:
            plan = self._idle[encoded].pop()
        except (KeyError, IndexError):
            self._make_room()
            return PreparedConvolution(self._library, Request.decode(encoded))
        with contextlib.suppress(KeyError):
            self._idle.move_to_end(encoded)
        return plan

    def _make_room(self) -> None:
        while sum(map(len, list(self._idle.values()))) >= MAX_PLANS:
            try:
                _, plans = self._idle.popitem(last=False)
            except KeyError:
                return
            while plans:  # another thread may take one of them meanwhile: each is taken once
                with contextlib.suppress(IndexError):
                    plans.pop().close()
