"""What XLA calls: a handler of its foreign function interface, written with `ctypes`, so that nothing is compiled.

The structures are those of `xla/ffi/api/c_api.h`, which comes with jaxlib. They are read as words of 8 bytes, which
costs less than naming their fields.
"""

import atexit
import contextlib
import ctypes
import os
import re
import threading
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vidjax.layers.cpu.onednn.plans import MAX_NUMBERS, Plans
from vidjax.layers.cpu.onednn.shared_library import LibraryError

VERSION = 1  # of what a program passes to the handler
TARGET = f"vidjax_onednn_convolution_{VERSION}"

_MAJOR, _MINORS = 0, range(3, 6)  # of the interface: those that this was tried with
_EXECUTE, _METADATA, _ARRAY, _INT64, _FLOAT32 = 3, 1, 1, 5, 11
_INTERNAL = 13  # the code of an error within a program
_QUIET_SECONDS = 0.2  # without a call, after which no program is taken to run any more
_MOST_SECONDS = 10.0  # that a thread may go on starting programs while Python ends
_FRAME_WORDS = 21  # as far as the attributes
_EXTENSION, _API, _STAGE = 1, 2, 4
_ARGUMENT_COUNT, _ARGUMENTS, _RESULT_COUNT, _RESULTS = 7, 9, 12, 14
_ATTRIBUTE_COUNT, _ATTRIBUTE_TYPES, _ATTRIBUTES = 17, 18, 20
_ERROR_CREATE = 6  # in the table of functions

_Frame = ctypes.c_uint64 * _FRAME_WORDS
_Two, _Three, _Four = (ctypes.c_uint64 * n for n in (2, 3, 4))
_Handler = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
_CreateError = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


class _ErrorArguments(ctypes.Structure):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("message", ctypes.c_char_p),
        ("code", ctypes.c_int),
    ]


def interface_version() -> tuple[int, int]:
    """Major and minor version of the installed jaxlib's interface.

    Raises:
      LibraryError: if it is not one that this was tried with, or does not say.
    """
    path = Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h"
    try:
        found = dict(re.findall(r"^#define XLA_FFI_API_(MAJOR|MINOR) (\d+)", path.read_text("utf-8"), re.MULTILINE))
        major, minor = int(found["MAJOR"]), int(found["MINOR"])
    except (OSError, ValueError, KeyError) as error:
        raise LibraryError("jaxlib does not say which interface it has") from error
    if major != _MAJOR or minor not in _MINORS:
        raise LibraryError(f"jaxlib's interface {major}.{minor} is not known here")
    return major, minor


# XLA keeps the addresses of functions for as long as the process lives.
_functions: list[Any] = []


class Handler:
    """Handles the calls of all programs."""

    def __init__(self, plans: Plans) -> None:
        """Registers it with XLA.

        Raises:
          LibraryError: if jaxlib has another interface, or refuses it.
        """
        self._version = interface_version()
        self._plans = plans
        self._process = os.getpid()
        self._is_over = False
        self._active: set[int] = set()  # threads that compute
        self._last_call = float("-inf")
        function = _Handler(self._handle)
        _functions.append(function)
        try:
            jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(function), platform="cpu")
        except RuntimeError as error:
            raise LibraryError(f"jaxlib refuses calls of oneDNN: {str(error).splitlines()[0]}") from error
        atexit.register(self._await_programs)  # later than JAX registered what ends its back end, so it runs before

    def _await_programs(self) -> None:
        """Waits for programs that still run when Python ends: their calls would never get the GIL."""
        if os.getpid() != self._process:
            return
        for array in jax.live_arrays("cpu"):
            with contextlib.suppress(Exception):
                array.block_until_ready()
        # Results that nobody kept: a thread's programs run in order.
        for device in jax.local_devices(backend="cpu"):
            with contextlib.suppress(Exception):
                jax.block_until_ready(jax.device_put(np.float32(0), device) + 1)
        # Those of other threads that have ended: as long as they call. A thread that would start programs forever is
        # told that it is over.
        begin = time.monotonic()
        while self._active or time.monotonic() - self._last_call < _QUIET_SECONDS:
            self._is_over = time.monotonic() - begin > _MOST_SECONDS
            if time.monotonic() - begin > 2 * _MOST_SECONDS:
                return
            time.sleep(_QUIET_SECONDS / 10)

    def _handle(self, address: int) -> int | None:
        """Answers a call frame: None, or XLA's own error."""
        frame = _Frame.from_address(address)
        try:
            if frame[_EXTENSION] and self._says_version(frame[_EXTENSION]):
                return None
            if frame[_STAGE] & 0xFFFFFFFF == _EXECUTE:
                self._execute(frame)
        except BaseException as error:  # whatever it is, Python would drop it and XLA would go on
            return _error(frame[_API], f"oneDNN: {type(error).__name__}: {error}")
        return None

    def _says_version(self, extension: int) -> bool:
        """Fills in which interface this is for, if XLA asks for that."""
        words = _Four.from_address(extension)
        if words[1] & 0xFFFFFFFF != _METADATA:
            return False
        ctypes.c_int.from_address(words[3] + 24).value, ctypes.c_int.from_address(words[3] + 28).value = self._version
        return True

    def _execute(self, frame: ctypes.Array) -> None:
        if os.getpid() != self._process:
            raise RuntimeError("a program with convolutions of oneDNN does not run in a forked process")
        if self._is_over:
            raise RuntimeError("Python is ending")
        counts = frame[_ARGUMENT_COUNT], frame[_RESULT_COUNT], frame[_ATTRIBUTE_COUNT]
        if counts != (2, 1, 1) or ctypes.c_int.from_address(frame[_ATTRIBUTE_TYPES]).value != _ARRAY:
            raise ValueError(f"{counts} arguments, results and attributes")
        kind, count, numbers = _Three.from_address(ctypes.c_uint64.from_address(frame[_ATTRIBUTES]).value)
        if kind & 0xFFFFFFFF != _INT64 or count > MAX_NUMBERS:
            raise ValueError(f"{count} numbers of type {kind & 0xFFFFFFFF}")
        buffers = (*_Two.from_address(frame[_ARGUMENTS]), ctypes.c_uint64.from_address(frame[_RESULTS]).value)
        data = []
        for buffer in buffers:
            words = _Four.from_address(buffer)
            if words[2] & 0xFFFFFFFF != _FLOAT32:
                raise ValueError("arrays of another type than float32")
            data.append(words[3])
        thread = threading.get_ident()
        self._active.add(thread)
        try:
            self._plans.run(ctypes.string_at(numbers, 8 * count), data)
        finally:
            self._last_call = time.monotonic()
            self._active.discard(thread)


def _error(api: int, message: str) -> int | None:
    create = _CreateError(ctypes.c_uint64.from_address(api + 8 * _ERROR_CREATE).value)
    arguments = _ErrorArguments(ctypes.sizeof(_ErrorArguments), None, message.encode(), _INTERNAL)
    return create(ctypes.addressof(arguments))
