"""oneDNN's shared library, from the wheel `onednn-cpu-gomp`: found, loaded and its C functions declared.

The wheel installs into `<prefix>/lib` and needs the system's `libgomp.so.1`.
"""

import contextlib
import ctypes
import functools
import importlib.metadata
import os
import threading
from collections.abc import Iterator
from ctypes import c_int, c_size_t, c_void_p

DISTRIBUTION = "onednn-cpu-gomp"
_FILE, _OPENMP = "libdnnl.so", "libgomp.so.1"
_MAJOR, _MINORS = 3, range(2, 3)  # of oneDNN: constants and structures of these are known here

# Settings of OpenMP, read when it is loaded: those that limit or bind its threads, and what they do without work.
_LIMITS = (
    *("OMP_DYNAMIC", "OMP_THREAD_LIMIT", "OMP_MAX_ACTIVE_LEVELS"),
    *("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"),
)
_WAITING = "OMP_WAIT_POLICY"

# Each thread that calls has a team of its own, and any of XLA's threads may call: threads of teams that are kept.
_MAX_KEPT_THREADS = 1024
_SOFT = 1  # of `omp_pause_resource_all`: settings stay

_AVX512 = 0x20  # in the number of an instruction set

# C functions and the types of their arguments; all but the last three groups return a status.
_POINTERS = {
    "engine_create": (c_void_p, c_int, c_size_t),
    "primitive_attr_create": (c_void_p,),
    "primitive_attr_set_scratchpad_mode": (c_void_p, c_int),
    "stream_create": (c_void_p, c_void_p, c_int),
    "memory_desc_create_with_strides": (c_void_p, c_int, c_void_p, c_int, c_void_p),
    "memory_desc_create_with_tag": (c_void_p, c_int, c_void_p, c_int, c_int),
    "memory_desc_destroy": (c_void_p,),
    "memory_create": (c_void_p, c_void_p, c_void_p, c_void_p),
    "memory_set_data_handle": (c_void_p, c_void_p),
    "memory_destroy": (c_void_p,),
    "convolution_forward_primitive_desc_create": (c_void_p, c_void_p, c_int, c_int, *(c_void_p,) * 9),
    "convolution_backward_data_primitive_desc_create": (c_void_p, c_void_p, c_int, *(c_void_p,) * 9),
    "convolution_backward_weights_primitive_desc_create": (c_void_p, c_void_p, c_int, *(c_void_p,) * 10),
    "reorder_primitive_desc_create": (c_void_p,) * 6,
    "primitive_desc_query": (c_void_p, c_int, c_int, c_void_p),
    "primitive_desc_destroy": (c_void_p,),
    "primitive_create": (c_void_p, c_void_p),
    "primitive_execute": (c_void_p, c_void_p, c_int, c_void_p),
    "primitive_destroy": (c_void_p,),
}
_OTHERS = {
    "memory_desc_equal": (c_int, (c_void_p, c_void_p)),
    "memory_desc_get_size": (c_size_t, (c_void_p,)),
    "primitive_desc_query_md": (c_void_p, (c_void_p, c_int, c_int)),
}


class LibraryError(Exception):
    """Why the library cannot be used, in one line."""


class Version(ctypes.Structure):
    """`dnnl_version_t`."""

    _fields_ = [
        ("major", c_int),
        ("minor", c_int),
        ("patch", c_int),
        ("hash", ctypes.c_char_p),
        ("cpu_runtime", ctypes.c_uint),
        ("gpu_runtime", ctypes.c_uint),
    ]


class Library:
    """The loaded library.

    Attributes:
      version: such as "3.2.0".
      threads: that a convolution is shared among, as many as XLA has.
      width: float32 numbers that a vector register holds.
      engine: oneDNN's handle of the CPU.
      attributes: of primitives, whose scratch memory the caller provides.
    """

    def __init__(self, path: str) -> None:
        """Loads it.

        Raises:
          LibraryError: if it cannot be loaded or is another than expected.
        """
        self.threads = _threads_of_xla()
        try:
            with _environment_of_openmp():
                # PyDLL keeps the GIL, which pays for calls shorter than getting it back.
                self._openmp = ctypes.PyDLL(_OPENMP)
                self._short, long = ctypes.PyDLL(path), ctypes.CDLL(path)
            self._short.dnnl_version.restype = ctypes.POINTER(Version)
            version = self._short.dnnl_version().contents
            self.version = f"{version.major}.{version.minor}.{version.patch}"
            if version.major != _MAJOR or version.minor not in _MINORS:
                raise LibraryError(f"oneDNN {self.version} is not known here")
            for name, arguments in _POINTERS.items():
                self._declare(self._short, name, c_int, arguments)
            for name, (result, arguments) in _OTHERS.items():
                self._declare(self._short, name, result, arguments)
            self._declare(long, "primitive_execute", c_int, _POINTERS["primitive_execute"])
        except (OSError, AttributeError) as error:
            raise LibraryError(f"oneDNN cannot be loaded: {error}") from error
        # It came with GCC 9.
        if self.threads**2 > _MAX_KEPT_THREADS and not hasattr(self._openmp, "omp_pause_resource_all"):
            raise LibraryError("the system's OpenMP is too old for so many cores")
        if not self._has_whole_teams():
            raise LibraryError("OpenMP was loaded before, with settings that limit its threads")
        self._keeping: set[int] = set()  # threads whose teams are kept
        self.execute_shortly = self._short.dnnl_primitive_execute
        self.execute = long.dnnl_primitive_execute  # others may use Python meanwhile
        self.set_data = self._short.dnnl_memory_set_data_handle
        self.width = 16 if self._short.dnnl_get_effective_cpu_isa() & _AVX512 else 8
        self.engine = self.create("engine", 1, 0)
        self.attributes = self.create("primitive_attr")
        self.call("primitive_attr_set_scratchpad_mode", self.attributes, 1)

    @staticmethod
    def _declare(library: ctypes.CDLL, name: str, result: type, arguments: tuple) -> None:
        function = getattr(library, f"dnnl_{name}")
        function.restype, function.argtypes = result, arguments

    def _has_whole_teams(self) -> bool:
        """Whether OpenMP always gives as many threads as it is asked for.

        oneDNN relies on that: with fewer, it leaves parts of a kernel's gradient out, or waits for them forever.
        """
        limit, levels = self._openmp.omp_get_thread_limit(), self._openmp.omp_get_max_active_levels()
        return limit >= self.threads and levels >= 1 and not self._openmp.omp_get_dynamic()

    def set_threads(self, number: int) -> None:
        """Says how many threads the calling thread shares its work among; others have numbers of their own."""
        self._openmp.omp_set_num_threads(number)

    def free_team(self) -> None:
        """Ends the threads of the calling thread's team, unless it is one of the first that had one.

        On many cores they are too many otherwise, and OpenMP ends the process when the system starts no more.
        """
        caller = threading.get_ident()
        if caller in self._keeping:
            return
        if (len(self._keeping) + 1) * self.threads <= _MAX_KEPT_THREADS:
            self._keeping.add(caller)
        else:
            self._openmp.omp_pause_resource_all(_SOFT)

    def call(self, name: str, *arguments: object) -> None:
        """Calls a function that returns a status.

        Raises:
          RuntimeError: if the status is another than success.
        """
        status = getattr(self._short, f"dnnl_{name}")(*arguments)
        if status:
            raise RuntimeError(f"oneDNN: {name} returned status {status}")

    def create(self, name: str, *arguments: object) -> int:
        """What `dnnl_NAME_create` makes of these arguments, as a handle."""
        handle = c_void_p()
        function = f"{name}_create" if hasattr(self._short, f"dnnl_{name}_create") else name
        self.call(function, ctypes.byref(handle), *arguments)
        assert handle.value is not None
        return handle.value

    def query_memory(self, description: int, what: int) -> int:
        """A memory description within that of a primitive, which owns it."""
        return self._short.dnnl_primitive_desc_query_md(description, what, 0)

    def query_text(self, description: int, what: int) -> str:
        """A text of a primitive's description."""
        text = ctypes.c_char_p()
        self.call("primitive_desc_query", description, what, 0, ctypes.byref(text))
        return (text.value or b"").decode()

    def size(self, memory: int) -> int:
        """Bytes that a memory description describes."""
        return self._short.dnnl_memory_desc_get_size(memory)

    def equal(self, memory: int, other: int) -> bool:
        """Whether two memory descriptions describe the same layout."""
        return bool(self._short.dnnl_memory_desc_equal(memory, other))


def find() -> str:
    """The path of the shared library.

    Raises:
      LibraryError: if the wheel is not installed.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files(DISTRIBUTION) or ():
            if file.name == _FILE:
                return os.path.realpath(str(file.locate()))
    raise LibraryError(f"{DISTRIBUTION} is not installed")


@functools.cache
def _load() -> Library | LibraryError:
    try:
        return Library(find())
    except LibraryError as error:
        return error


def load() -> Library:
    """The library, loaded once.

    Raises:
      LibraryError: why there is none; the same one each time.
    """
    library = _load()
    if isinstance(library, LibraryError):
        raise library
    return library


def _threads_of_xla() -> int:
    for name in ("PJRT_NPROC", "NPROC"):
        with contextlib.suppress(ValueError):
            return max(1, int(os.environ.get(name, "")))
    return len(os.sched_getaffinity(0))


@contextlib.contextmanager
def _environment_of_openmp() -> Iterator[None]:
    """Within this, OpenMP is loaded so that it gives whole teams of threads, bound to no core, that sleep without work.

    XLA has threads of its own, each of which may call: OpenMP would bind them all to the same core.
    """
    before = {name: os.environ.pop(name, None) for name in _LIMITS}
    before[_WAITING] = os.environ.get(_WAITING)
    os.environ.setdefault(_WAITING, "PASSIVE")
    try:
        yield
    finally:
        for name, value in before.items():
            if value is not None:
                os.environ[name] = value
            else:
                os.environ.pop(name, None)
