"""Which convolutions are computed by oneDNN: whether it is there, and where it is the faster one."""

import dataclasses
import functools
import math
import os
import threading

import numpy as np

from vidjax.layers.cpu.geometry import ConvolutionGeometry
from vidjax.layers.cpu.onednn import shared_library
from vidjax.layers.cpu.onednn.folding import Folding, Turned, in_another_form
from vidjax.layers.cpu.onednn.handler import Handler
from vidjax.layers.cpu.onednn.plans import Plans, Request, implementation
from vidjax.layers.cpu.onednn.shared_library import Library, LibraryError

_SLOW = "ref"  # in the names of implementations that are not optimized
_GATHERING = "gemm"  # of those that gather windows for a matrix product: kernel gradients without AVX-512
_TOLERANCE = 1e-5
_MIN_PRODUCTS = 1 << 20  # of a convolution, below which calling costs more than is saved


@dataclasses.dataclass(frozen=True)
class _Started:
    loaded: Library
    process: int


_forbidden: list[str] = []
_starting = threading.Lock()  # programs are lowered in several threads


@functools.cache
def _once() -> _Started | str:
    try:
        loaded = shared_library.load()
        plans = Plans(loaded)
        check(plans)
        Handler(plans)
    except LibraryError as error:
        return str(error)
    return _Started(loaded, os.getpid())


def _start() -> _Started | str:
    """Makes oneDNN known to XLA, once; a text says why it cannot be used."""
    with _starting:
        return _forbidden[0] if _forbidden else _once()


def forbid() -> None:
    """Has all programs that this process lowers from now on computed by the other forms, to compare them."""
    _forbidden[:] = ["oneDNN was not to be used"]


def check(plans: Plans) -> None:
    """Computes one convolution and its gradients.

    Raises:
      LibraryError: if they are wrong.
    """
    geometry = ConvolutionGeometry((1, 1), ((1, 1), (1, 1)), (1, 1))
    shapes = {"x": (2, 7, 9, 16), "kernel": (3, 3, 16, 32), "y": (2, 7, 9, 32)}
    rng = np.random.default_rng(0)
    given = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}

    def computed(result: str, *operands: str) -> np.ndarray:
        request = Request(result, geometry, *shapes.values())
        array = np.zeros(shapes[result], np.float32)
        data = [given[name].ctypes.data for name in operands]
        plans.run(request.encode().tobytes(), [*data, array.ctypes.data])
        return array

    padded = np.pad(given["x"], ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    wanted = np.einsum("nhwcij,ijcf->nhwf", windows, given["kernel"])
    try:
        y = computed("y", "x", "kernel")
        gradients = {"x": computed("x", "kernel", "y"), "kernel": computed("kernel", "x", "y")}
    except (RuntimeError, ValueError) as error:
        raise LibraryError(f"oneDNN {error}") from error
    # Of what is linear in the input and in the kernel, the gradients have the same products with them.
    product = float((given["y"] * wanted).sum(dtype=np.float64))
    products = [float((given[name] * gradient).sum(dtype=np.float64)) for name, gradient in gradients.items()]
    bound = _TOLERANCE * float(np.linalg.norm(wanted) * np.linalg.norm(given["y"]))
    if abs(y - wanted).max() > _TOLERANCE * abs(wanted).max() or max(abs(p - product) for p in products) > bound:
        raise LibraryError("oneDNN computes a convolution wrongly on this machine")


def chosen(
    computed: str, geometry: ConvolutionGeometry, x: tuple[int, ...], kernel: tuple[int, ...], y: tuple[int, ...]
) -> Request | Folding | Turned | None:
    """The request to oneDNN for a float32 convolution, or for another one; None if it is not to compute this one.

    Args:
      computed: "y", "x" or "kernel".
      geometry: of the convolution.
      x: shape of the input, channels last.
      kernel: shape of the kernel.
      y: shape of the result.
    """
    request = Request(computed, geometry, x, kernel, y)
    if not is_faster(request):
        return None
    started = _start()
    # Threads do not survive a fork.
    if isinstance(started, str) or started.process != os.getpid():
        return None
    form = in_another_form(request, started.loaded.width)
    asked = form.folded if isinstance(form, Folding) else form.turned if isinstance(form, Turned) else request
    name = implementation(started.loaded, asked)
    if name is None or _SLOW in name or (_GATHERING in name and is_slow_to_gather(request, form)):
        return None
    return form or request


def is_faster(request: Request) -> bool:
    """Whether oneDNN was measured to be faster than the other forms for such a convolution."""
    geometry, extent = request.geometry, request.kernel[:-2]
    taps = math.prod(extent)
    if taps == 1:  # a matrix product
        return False
    if request.products < _MIN_PRODUCTS:
        return False
    is_depthwise = geometry.groups == request.x[-1] > 1
    return not (is_depthwise and len(extent) == 3 and extent[0] > 1)


def is_slow_to_gather(request: Request, form: Folding | Turned | None) -> bool:
    """Whether other forms were measured to be faster where oneDNN gathers windows for a matrix product.

    Args:
      request: of the convolution.
      form: as which it would be computed.
    """
    extent = request.kernel[:-2]
    return request.computed == "kernel" and (isinstance(form, Folding) or (len(extent) == 3 and extent[0] == 1))


def describe() -> str:
    """What computes convolutions on one CPU; loads oneDNN to find out."""
    started = _start()
    return f"vidjax's own forms, since {started}" if isinstance(started, str) else f"oneDNN {started.loaded.version}"
