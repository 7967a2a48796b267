"""Programs call oneDNN where it is there and they stay on one CPU; otherwise they are as they were."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests import random_variables
from vidjax.layers.convolution import Conv, convolution, implementation, native_operations
from vidjax.layers.cpu.geometry import ConvolutionGeometry
from vidjax.layers.cpu.onednn import choice, handler, shared_library
from vidjax.layers.cpu.onednn.plans import Plans, Request

X, KERNEL = (
    jnp.asarray(random_variables.normal((2, 6, 14, 14, 16))),
    jnp.asarray(random_variables.normal((3, 3, 3, 16, 32), 1)),
)
ROOT = Path(__file__).resolve().parents[4]


def loss(x, kernel):
    return (convolution(x, kernel, (1, 2, 2), "SAME") ** 2).sum()


def calls(*arrays, function=loss):
    """How often a gradient calls oneDNN."""
    jax.clear_caches()
    return jax.jit(jax.grad(function, (0, 1))).lower(*arrays).as_text().count(f"@{handler.TARGET}(")


@pytest.fixture
def fresh(monkeypatch):
    """Nothing is known of the library."""
    for module, name in ((shared_library, "_load"), (choice, "_once")):
        monkeypatch.setattr(module, name, functools.cache(getattr(module, name).__wrapped__))
    monkeypatch.setattr(choice, "Handler", lambda plans: None)  # the one of this process stays registered


def test_a_program_for_one_cpu_calls_it(loaded):
    assert calls(X, KERNEL) == 3
    assert implementation(jax.devices()[:1]) == f"oneDNN {loaded.version}"
    with native_operations():
        assert calls(X, KERNEL) == 0 and implementation(jax.devices()[:1]) == "XLA's own"


@pytest.mark.parametrize(
    "computed, shape, kernel, strides, groups, is_faster",
    [
        ("y", (2, 8, 28, 28, 64), (3, 3, 3, 64, 128), 1, 1, True),
        ("y", (2, 8, 28, 28, 64), (1, 1, 1, 64, 128), 1, 1, False),
        ("y", (1, 4, 4, 2), (3, 3, 2, 2), 1, 1, False),
        ("y", (2, 8, 28, 28, 64), (3, 3, 3, 1, 64), 1, 64, False),
        ("kernel", (16, 56, 56, 144), (3, 3, 1, 144), 1, 144, True),
        ("x", (2, 32, 112, 112, 3), (5, 7, 7, 3, 8), 2, 1, True),
        ("kernel", (2, 8, 56, 56, 64), (3, 3, 3, 64, 128), 2, 1, True),
    ],
)
def test_where_it_is_faster(computed, shape, kernel, strides, groups, is_faster):
    rank = len(shape) - 2
    geometry = ConvolutionGeometry((strides,) * rank, ((0, 0),) * rank, (1,) * rank, groups)
    y = (shape[0], *((n - k) // strides + 1 for n, k in zip(shape[1:-1], kernel)), kernel[-1])
    assert choice.is_faster(Request(computed, geometry, shape, kernel, y)) == is_faster


def test_values_and_equal_runs(loaded):
    gradient = jax.jit(jax.value_and_grad(loss, (0, 1)))
    got, again = gradient(X, KERNEL), gradient(X, KERNEL)
    with native_operations():
        wanted = jax.jit(jax.value_and_grad(lambda *arrays: loss(*arrays), (0, 1)))(X, KERNEL)
    for a, b, c in zip(*map(jax.tree.leaves, (got, wanted, again))):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * float(abs(b).max()))
        np.testing.assert_array_equal(a, c)


def test_other_programs_do_not(loaded):
    with jax.enable_x64(True):
        assert calls(X.astype(jnp.float64), KERNEL.astype(jnp.float64)) == 0
    assert calls(X.astype(jnp.bfloat16), KERNEL.astype(jnp.bfloat16)) == 0
    assert implementation(jax.devices()[:1], dtype="bfloat16") == "vidjax's own forms, since it is bfloat16"
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    sharded = jax.device_put(X, NamedSharding(mesh, PartitionSpec("data")))
    assert calls(sharded, jax.device_put(KERNEL, NamedSharding(mesh, PartitionSpec()))) == 0
    assert implementation(jax.devices()[:2]).startswith("vidjax's own forms")
    mapped = jax.pmap(loss, in_axes=(0, None), devices=jax.devices()[:1])
    assert handler.TARGET not in mapped.lower(X[None], KERNEL).as_text()
    assert implementation(jax.devices()[:1], is_mapped=True) == "vidjax's own forms, since pmap is used"
    exported = jax.export.export(jax.jit(jax.grad(loss)), platforms=["cpu"])(X, KERNEL)
    assert "custom_call" not in exported.mlir_module()


def test_inside_of_other_transformations(loaded):
    def mapped(x, kernel):
        return jax.vmap(loss, (0, None))(x, kernel).sum()

    assert calls(jnp.stack([X, X]), KERNEL, function=mapped) == 3
    assert calls(X, KERNEL, function=jax.checkpoint(loss)) >= 3
    jitted = jax.jit(lambda xs, kernel: jax.lax.map(lambda x: loss(x, kernel), xs))
    np.testing.assert_allclose(jitted(jnp.stack([X, 2 * X]), KERNEL)[1], 4 * loss(X, KERNEL), rtol=1e-4)


def test_values_of_transformed_programs(loaded, monkeypatch):
    """Second derivatives, `jax.vmap` of either operand, `jax.checkpoint` and donated arrays, of uneven geometry."""
    monkeypatch.setattr(choice, "_MIN_PRODUCTS", 0)  # tiny convolutions, too
    x, kernel = (jnp.asarray(random_variables.normal(shape, n)) for n, shape in enumerate([(2, 6, 9, 8), (3, 2, 4, 8)]))

    def small(x, kernel):
        y = convolution(x, kernel, (2, 1), ((0, 2), (1, 0)), rhs_dilation=(1, 2), feature_group_count=2)
        return (y**3).sum()

    def penalty(x, kernel):
        return sum((g**2).sum() for g in jax.grad(jax.checkpoint(small), (0, 1))(x, kernel))

    def transformed(x, kernel):
        xs, kernels = jnp.stack([x, 2 * x]), jnp.stack([kernel, -kernel])
        mapped = jax.vmap(jax.grad(small, (0, 1)), (0, None))(xs, kernel), jax.vmap(small, (None, 0))(x, kernels)
        return jax.grad(penalty, (0, 1))(x, kernel), mapped, jax.jvp(small, (x, kernel), (x, kernel))

    compiled = jax.jit(transformed, donate_argnums=(0, 1)).lower(x, kernel).compile()
    assert compiled.as_text().count(f'"{handler.TARGET}"') >= 8
    jax.clear_caches()  # that of `jax.checkpoint`, too
    with native_operations():
        native = jax.jit(lambda *arrays: transformed(*arrays)).lower(x, kernel).compile()
    assert handler.TARGET not in native.as_text()
    wanted = native(x, kernel)
    for a, b in zip(*map(jax.tree.leaves, (compiled(x, kernel), wanted)), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(abs(b).max()))


@pytest.mark.usefixtures("fresh")
def test_without_the_wheel(monkeypatch):
    monkeypatch.setattr(shared_library, "DISTRIBUTION", "not-installed")
    assert choice.describe() == "vidjax's own forms, since not-installed is not installed"
    assert calls(X, KERNEL) == 0
    assert choice.describe() == "vidjax's own forms, since not-installed is not installed"


@pytest.mark.usefixtures("fresh")
def test_without_openmp(monkeypatch, loaded):
    monkeypatch.setattr(shared_library, "_OPENMP", "libgomp-hidden.so.1")
    said = choice.describe()  # before anything is compiled, as at the start of a run
    assert said.startswith("vidjax's own forms") and "libgomp-hidden" in said
    assert calls(X, KERNEL) == 0


@pytest.mark.usefixtures("fresh")
def test_a_library_that_computes_wrongly(monkeypatch, loaded):
    monkeypatch.setattr(Plans, "run", lambda *arguments: None)  # the result stays zero
    assert calls(X, KERNEL) == 0 and "wrongly" in choice.describe()


@pytest.mark.usefixtures("fresh")
def test_an_unknown_version(monkeypatch, loaded):
    monkeypatch.setattr(shared_library, "_MINORS", range(7, 9))
    assert calls(X, KERNEL) == 0 and f"oneDNN {loaded.version} is not known here" in choice.describe()


def test_an_unknown_interface(monkeypatch):
    monkeypatch.setattr(handler, "_MINORS", range(0))
    with pytest.raises(shared_library.LibraryError, match=r"0\.\d"):
        handler.interface_version()


def in_process(code, timeout=120):
    """Output of a Python program that begins with a compiled function f of X and KERNEL."""
    begin = (
        "import jax, jax.numpy as jnp, os, sys\n"
        "from vidjax.layers.convolution import convolution\n"
        "X, KERNEL = jnp.ones((4, 8, 28, 28, 32)), jnp.ones((3, 3, 3, 32, 32)) / 1000\n"
        "@jax.jit\n"
        "def f(x, kernel):\n"
        "    for _ in range(4):\n"
        "        x = convolution(x @ jnp.eye(32), kernel, (1, 1, 1), 'SAME')\n"
        "    return x\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    return subprocess.run(
        [sys.executable, "-c", begin + code], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout
    )


def test_python_ends_while_programs_run(loaded):
    """Also those whose results nobody keeps, and of threads that have ended."""
    code = (
        "import threading\n"
        "f(X, KERNEL).block_until_ready()\n"
        "def dispatch():\n"
        "    for _ in range(4): f(X, KERNEL)\n"
        "thread = threading.Thread(target=dispatch); thread.start(); thread.join()\n"
        "dispatch(); print('left')\n"
    )
    done = in_process(code)
    assert (done.returncode, done.stdout) == (0, "left\n"), done.stderr


def test_python_ends_beside_a_thread_that_goes_on_forever(loaded):
    code = (
        "import threading\n"
        "from vidjax.layers.cpu.onednn import handler\n"
        "handler._MOST_SECONDS = 0.3\n"
        "f(X, KERNEL).block_until_ready()\n"
        "def dispatch():\n"
        "    try:\n"
        "        while True: f(X, KERNEL).block_until_ready()\n"
        "    except Exception as error: print(str(error).split(': ')[-1], flush=True)\n"
        "threading.Thread(target=dispatch, daemon=True).start()\n"
    )
    done = in_process(code, 60)
    assert (done.returncode, done.stdout) == (0, "Python is ending\n"), done.stderr


def test_it_may_be_forbidden(loaded, monkeypatch):
    monkeypatch.setattr(choice, "_forbidden", [])
    choice.forbid()
    assert calls(X, KERNEL) == 0 and choice.describe().startswith("vidjax's own forms")


def test_a_forked_process_refuses(loaded):
    code = (
        "f = jax.jit(lambda *arrays: convolution(*arrays, (1, 1, 1), 'SAME'))\n"  # cheap to XLA: needs no thread of it
        "f(X, KERNEL).block_until_ready()\n"
        "if os.fork() == 0:\n"
        "    text = jax.jit(lambda *arrays: 1 + convolution(*arrays, (1, 1, 1), 'SAME')).lower(X, KERNEL).as_text()\n"
        "    print('custom_call' in text, flush=True)\n"
        "    try: f(X, KERNEL).block_until_ready()\n"
        "    except Exception as error: print(error, flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    done = in_process(code)
    assert "False" in done.stdout and "does not run in a forked process" in done.stdout, done.stderr


def test_it_is_not_loaded_before_it_is_needed(loaded):
    code = "print([line for line in open('/proc/self/maps') if 'libdnnl' in line])"
    assert in_process(code).stdout == "[]\n"
    assert "libdnnl" in in_process("f.lower(X, KERNEL)\n" + code).stdout


def test_as_many_threads_as_xla_has(monkeypatch):
    monkeypatch.setenv("NPROC", "5")
    assert shared_library._threads_of_xla() == 5
    monkeypatch.setenv("PJRT_NPROC", "3")
    assert shared_library._threads_of_xla() == 3
    for name in ("NPROC", "PJRT_NPROC"):
        monkeypatch.setenv(name, "all")
    assert shared_library._threads_of_xla() == len(os.sched_getaffinity(0))


def with_settings_of_openmp(code, **settings):
    """Output of a program that begins with the library, loaded with these variables set."""
    begin = "import os\nfrom vidjax.layers.cpu.onednn import shared_library\n"
    done = subprocess.run(
        [sys.executable, "-c", begin + code],
        cwd=ROOT,
        env={**os.environ, "NPROC": "2", **settings},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert not done.returncode, done.stderr
    return done.stdout


LIMITS = [{"OMP_DYNAMIC": "true"}, {"OMP_THREAD_LIMIT": "1"}, {"OMP_MAX_ACTIVE_LEVELS": "0"}]


@pytest.mark.parametrize("settings", LIMITS)
def test_limits_of_openmp_leave_nothing_out(settings, loaded):
    """With a smaller team than it has asked for, oneDNN sums half of this gradient."""
    code = (
        "import numpy as np\n"
        "from vidjax.layers.cpu.geometry import ConvolutionGeometry\n"
        "from vidjax.layers.cpu.onednn.plans import Plans, Request\n"
        "shapes = x, kernel, y = (4, 28, 28, 64), (3, 3, 64, 64), (4, 28, 28, 64)\n"
        "request = Request('kernel', ConvolutionGeometry((1, 1), ((1, 1), (1, 1)), (1, 1)), *shapes)\n"
        "ones, result = np.ones(x, np.float32), np.zeros(kernel, np.float32)\n"
        "data = [ones.ctypes.data, ones.ctypes.data, result.ctypes.data]\n"
        "Plans(shared_library.load()).run(request.encode().tobytes(), data)\n"
        "print(int(result[1, 1].min()), sorted(set(os.environ) & {'OMP_WAIT_POLICY', *shared_library._LIMITS}))\n"
    )
    assert with_settings_of_openmp(code, **settings) == f"{4 * 28 * 28} {list(settings)}\n"


@pytest.mark.parametrize("settings", LIMITS)
def test_a_limited_openmp_that_is_loaded_already(settings, loaded):
    code = (
        "import ctypes\nctypes.CDLL('libgomp.so.1')\n"
        "try: shared_library.load()\n"
        "except shared_library.LibraryError as error: print(error)\n"
    )
    assert "limit its threads" in with_settings_of_openmp(code, **settings)


def test_openmp_binds_no_thread_to_a_core(loaded):
    code = "before = os.sched_getaffinity(0)\nshared_library.load()\nprint(os.sched_getaffinity(0) == before)\n"
    assert with_settings_of_openmp(code, OMP_PROC_BIND="true", OMP_PLACES="cores") == "True\n"


def test_errors_are_those_of_xla(loaded):
    module = Conv(4, (3, 3))
    jax.jit(module.init)(jax.random.key(0), jnp.ones((1, 6, 6, 3)))  # the handler is registered
    call = jax.ffi.ffi_call(handler.TARGET, jax.ShapeDtypeStruct(X.shape, X.dtype))
    for numbers, named in (([1, 2], "16"), ([1] * 99, "99")):
        with pytest.raises(jax.errors.JaxRuntimeError) as caught:
            jax.block_until_ready(jax.jit(lambda x, n=numbers: call(x, x, request=np.array(n)))(X))
        assert f"ValueError: {named} " in str(caught.value)
    with pytest.raises(jax.errors.JaxRuntimeError, match="1 numbers|attributes"):
        jax.block_until_ready(jax.jit(lambda x: call(x, x, request=1))(X))
    with pytest.raises(jax.errors.JaxRuntimeError, match="float32"):
        jax.block_until_ready(jax.jit(lambda x: call(x, x, request=np.array([1])))(jnp.ones(3, jnp.int32)))
