"""Prepared convolutions have XLA's values, are bounded, and take nothing but what was encoded."""

import os
import threading

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.convolutions import OPERATIONS
from tests import random_variables
from vidjax.layers.convolution_primitives import native
from vidjax.layers.cpu.geometry import ConvolutionGeometry
from vidjax.layers.cpu.onednn import plans, shared_library
from vidjax.layers.cpu.onednn.plans import PASSES, Plans, Request, implementation

OPERANDS = {"y": ("x", "kernel"), "x": ("kernel", "y"), "kernel": ("x", "y")}


def requests(operation):
    """The passes of an operation on a small clip."""
    operation = operation.shrunk()
    padding = tuple((p, p) for p in operation.padding)
    geometry = ConvolutionGeometry(operation.strides, padding, (1,) * len(padding), operation.groups)
    return [Request(name, geometry, operation.shape, operation.kernel, operation.output) for name in PASSES]


def outcome(of_plans, request):
    """What oneDNN computes of random operands, and what XLA does."""
    operands = [random_variables.normal(getattr(request, name), n) for n, name in enumerate(OPERANDS[request.computed])]
    result = np.full(getattr(request, request.computed), np.nan, np.float32)
    of_plans.run(request.encode().tobytes(), [array.ctypes.data for array in (*operands, result)])
    wanted = native(request.computed, request.geometry, result.shape)(*map(jnp.asarray, operands))
    return result, np.asarray(wanted)


@pytest.mark.parametrize("name", OPERATIONS)
def test_values(loaded, name):
    of_plans = Plans(loaded)
    for request in requests(OPERATIONS[name]):
        got, wanted = outcome(of_plans, request)
        assert abs(got - wanted).max() < 5e-6 * abs(wanted).max()
        assert np.array_equal(got, outcome(of_plans, request)[0]), "equal calls are equal to the bit"
        assert implementation(loaded, request)


@pytest.mark.parametrize(
    "shape, kernel, geometry",
    [
        ((2, 9, 11, 16), (3, 2, 16, 24), ConvolutionGeometry((1, 1), ((2, 2), (0, 3)), (2, 3))),
        ((2, 14, 9, 16), (2, 3, 16, 16), ConvolutionGeometry((4, 2), ((0, 0), (1, 0)), (1, 1))),  # leaves pixels out
        ((1, 7, 8, 8, 3), (3, 1, 5, 3, 20), ConvolutionGeometry((2, 1, 2), ((4, 0), (0, 1), (2, 5)), (1, 1, 1))),
        ((2, 8, 9, 24), (3, 3, 6, 32), ConvolutionGeometry((1, 2), ((0, 1), (1, 1)), (2, 1), 4)),
        ((2, 9, 9, 24), (3, 3, 1, 48), ConvolutionGeometry((2, 1), ((0, 1), (2, 2)), (1, 2), 24)),
        ((3, 14, 8), (5, 8, 16), ConvolutionGeometry((3,), ((1, 4),), (2,))),
    ],
)
def test_geometries(loaded, shape, kernel, geometry):
    """Dilation, uneven padding, strides beyond the kernel, groups; a result is written to its last number."""
    lengths = zip(shape[1:], geometry.padding, kernel, geometry.dilation, geometry.strides)
    y = (shape[0], *((n + sum(pair) - d * (k - 1) - 1) // s + 1 for n, pair, k, d, s in lengths), kernel[-1])
    for computed in PASSES:
        got, wanted = outcome(Plans(loaded), Request(computed, geometry, shape, kernel, y))
        assert abs(got - wanted).max() < 5e-6 * abs(wanted).max()


def test_a_plan_knows_no_impossible_convolution(loaded):
    request = requests(OPERATIONS["3x3"])[0]
    wrong = Request("y", request.geometry, request.x, request.kernel, (1, 3, 3, 128))
    assert implementation(loaded, wrong) is None
    with pytest.raises(RuntimeError, match="status"):
        Plans(loaded).run(wrong.encode().tobytes(), [0, 0, 0])


def test_encoding():
    for operation in OPERATIONS.values():
        for request in requests(operation):
            assert Request.decode(request.encode().tobytes()) == request
            assert request.encode().size <= plans.MAX_NUMBERS


def test_other_bytes_are_refused():
    encoded = requests(OPERATIONS["3x3"])[0].encode()
    for damaged in (encoded[:-1], np.append(encoded, 1), encoded[:2], encoded * 0, -encoded):
        with pytest.raises(ValueError, match="bytes|numbers|convolution"):
            Request.decode(damaged.tobytes())
    with pytest.raises(ValueError, match="bytes"):
        Request.decode(encoded.tobytes()[:-3])


def test_plans_are_bounded(loaded, monkeypatch):
    monkeypatch.setattr(plans, "MAX_PLANS", 3)
    monkeypatch.setattr(plans, "MAX_KEPT_BYTES", 0)
    of_plans, seen = Plans(loaded), set()
    for request in [request for name in ("3x3", "3x1x1") for request in requests(OPERATIONS[name])] * 2:
        got, wanted = outcome(of_plans, request)
        assert abs(got - wanted).max() < 5e-6 * abs(wanted).max()
        seen.add(sum(map(len, of_plans._idle.values())))
    assert max(seen) == 3
    assert [workspace.size for workspace in of_plans._workspaces] == [0]


def in_threads(work, count):
    """Calls work(0), work(1), ... each in a thread of its own."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_calls_of_several_threads(loaded):
    of_plans, failures = Plans(loaded), []

    def work(seed):
        for request in requests(OPERATIONS["3x3x3"]) * 10:
            got, wanted = outcome(of_plans, request)
            if not abs(got - wanted).max() < 5e-6 * abs(wanted).max():
                failures.append((seed, request))

    in_threads(work, 4)
    assert not failures


def test_plans_that_make_room_are_taken_once(loaded, monkeypatch):
    """Threads that evict each other's plans."""
    monkeypatch.setattr(plans, "MAX_PLANS", 2)
    of_plans, failures = Plans(loaded), []

    def work(first):
        cases = [request for name in ("3x3", "3x1x1", "1x1") for request in requests(OPERATIONS[name])]
        for request in (cases[first:] + cases[:first]) * 4:
            got, wanted = outcome(of_plans, request)
            if not abs(got - wanted).max() < 5e-6 * abs(wanted).max():
                failures.append(request)

    in_threads(work, 3)
    assert not failures


def test_one_thread_computes_small_kernel_gradients(loaded, monkeypatch):
    numbers, set_threads = [], loaded.set_threads
    monkeypatch.setattr(loaded, "set_threads", lambda number: (numbers.append(number), set_threads(number)))
    monkeypatch.setattr(loaded, "threads", 3)
    y, _, kernel = requests(OPERATIONS["3x3"])
    for request, last in ((y, 3), (kernel, 1)):
        outcome(Plans(loaded), request)
        assert numbers[-1] == last if request is kernel else last in numbers
    monkeypatch.setattr(plans, "_MIN_SHARED_PRODUCTS", 1)
    numbers.clear()
    outcome(Plans(loaded), kernel)
    assert 3 in numbers


@pytest.mark.parametrize("kept, started", [(0, 0), (1024, 2)])
def test_threads_of_many_callers_are_bounded(kept, started, loaded, monkeypatch):
    monkeypatch.setattr(shared_library, "_MAX_KEPT_THREADS", kept)
    monkeypatch.setattr(loaded, "_keeping", set())
    monkeypatch.setattr(loaded, "threads", 3)
    of_plans, request = Plans(loaded), requests(OPERATIONS["3x3"])[0]
    x, kernel, y = (np.ones(shape, np.float32) for shape in (request.x, request.kernel, request.y))
    numbers, results = [], []

    def work():
        for _ in range(3):
            numbers.append(len(os.listdir("/proc/self/task")))
            of_plans.run(request.encode().tobytes(), [array.ctypes.data for array in (x, kernel, y)])
            results.append(y.copy())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [number - numbers[0] for number in numbers[1:]] == [started, started]
    assert np.array_equal(results[0], results[2])
