import concurrent.futures
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.nn import initializers

from vidjax import models
from vidjax.training.compiler_options import accepted_options
from vidjax.training.initial_values import Initialization
from vidjax.training.state import make_init

SHAPE = (3, 3, 3, 20, 32)
FAN_IN = 27 * 20
# Of the networks and of those that users write: name -> initializer, standard deviation, bound.
DRAWS = {
    "lecun normal": (initializers.lecun_normal(), FAN_IN**-0.5, 2 * FAN_IN**-0.5 / 0.8796),
    "he normal by outputs": (initializers.variance_scaling(2.0, "fan_out", "normal"), (2 / 27 / 32) ** 0.5, None),
    "he normal by inputs": (initializers.variance_scaling(2.0, "fan_in", "normal"), (2 / FAN_IN) ** 0.5, None),
    "normal": (initializers.normal(0.01), 0.01, None),
    "standard normal": (initializers.normal(1.0), 1.0, None),
    "truncated normal": (initializers.truncated_normal(0.1), 0.1 * 0.8796, 0.2),
    "glorot uniform": (initializers.glorot_uniform(), (2 / 27 / 52) ** 0.5, (6 / 27 / 52) ** 0.5),
    "centered uniform": (
        lambda key, shape, dtype=None: jax.random.uniform(key, shape, dtype, -0.2, 0.2),
        0.2 / 3**0.5,
        0.2,
    ),
}


def compiled(function, level=3):
    """At XLA's level 3, JAX's own, unless it is told otherwise; the tests tell it otherwise."""
    return jax.jit(function, compiler_options=accepted_options({"xla_backend_optimization_level": level}))()


def assert_equal_bits(got, wanted):
    for x, y in zip(got, wanted, strict=True):
        assert (x.dtype, x.shape, x.weak_type) == (y.dtype, y.shape, y.weak_type)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.fixture
def programs():
    """Names of the programs that are compiled."""
    names = []

    def note(event, duration, fun_name="", **_):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(fun_name)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_draws_are_those_of_the_compiled_function(dtype, programs):
    """Of one element, of a part of a block, of many blocks and of more than one call; some of them twice."""
    shapes = [(1, 1), (5, 7), (600, 500)]

    def draw():
        seeds = itertools.count()
        keys = (jax.random.fold_in(jax.random.key(3), seed) for seed in seeds)
        drawn = [init(next(keys), shape, dtype) for init, *_ in DRAWS.values() for shape in shapes]
        return [*drawn, jnp.copy(drawn[0]), drawn[-1].reshape(-1), 2 - 3 * drawn[1], jnp.empty((0, 3), dtype)]

    with jax.enable_x64(dtype == jnp.float64):
        got = Initialization(draw)()
        assert len(programs) <= 12, programs
        assert_equal_bits(got, compiled(draw))


def test_constants_need_no_program(programs):
    def constants():
        return [
            jnp.zeros((2, 3)),
            jnp.full((4,), -0.0, jnp.float32),
            jnp.full((4,), jnp.nan, jnp.float32),
            jnp.ones((3,), jnp.bfloat16),
            jnp.zeros((), jnp.int32),
            jnp.full((2, 2), True),
            jnp.full((5,), 0.1, jnp.float32) * 3 - jnp.sqrt(2.0),
        ]

    got = Initialization(constants)()
    assert not programs
    assert_equal_bits(got, compiled(constants))


def test_what_is_no_function_of_one_draw_is_compiled():
    key = jax.random.key(1)

    def values():
        drawn = jax.random.normal(jax.random.key(0), (4, 4))
        return [
            initializers.orthogonal()(key, (4, 4)),
            jnp.eye(4) + 0.1 * drawn,
            drawn * drawn,
            drawn + jax.random.normal(key, (4, 4)),
            drawn.T,
            drawn[:2],
            jnp.broadcast_to(jax.random.normal(key, (4,)), (4, 4)),
            jax.random.normal(key, (4, 4), jnp.bfloat16),
            jax.random.randint(key, (4,), 0, 9),
            jax.random.bernoulli(key, 0.5, (9,)),
            jnp.arange(4),
            1.0,  # of a weak type
        ]

    assert_equal_bits(Initialization(values)(), compiled(values, 1))


@pytest.mark.parametrize("kind", ["rbg", "unpartitionable"])
def test_bits_that_depend_on_the_shape_are_compiled(kind):
    def values():
        key = jax.random.key(0, impl="rbg" if kind == "rbg" else None)
        return [jax.random.normal(key, (3, 3))]

    with jax.threefry_partitionable(kind != "unpartitionable"):
        assert_equal_bits(Initialization(values)(), compiled(values, 1))


def test_a_long_chain_of_operations_is_compiled():
    """An expression is a tree: of a sum with itself it would grow exponentially."""

    def values():
        x = jax.random.normal(jax.random.key(0), (3,))
        y = jnp.max(jnp.array([1.0, 2.0]))
        scalar = jnp.float32(1.0)
        for _ in range(60):
            x, scalar, y = jnp.exp(jnp.minimum(x, scalar)), jnp.maximum(scalar, scalar), y + y
        return [x, scalar, y]

    assert_equal_bits(Initialization(values)(), compiled(values, 1))


def test_a_network_takes_a_handful_of_programs(programs):
    """Not one for each of its shapes; nor do its optimizer and averages."""
    clips = {"rgb": jax.ShapeDtypeStruct((1, 8, 32, 32, 3), jnp.float32)}
    init = make_init(models.create("slowfast_r18_small", 5), optax.adam(0.1), clips, 0, ema=True)
    state = init()
    assert len(jax.tree.leaves(state)) > 500
    assert len(programs) <= 5, programs
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(state)]
    assert len(set(pointers)) == len(pointers)  # a step donates them


def test_on_any_device_and_thread_the_same():
    init, *_ = DRAWS["lecun normal"]

    def on(device):
        with jax.default_device(device):
            (found,) = Initialization(lambda: [init(jax.random.key(7), SHAPE)])()
        assert found.devices() == {device}
        return found

    first, *others = concurrent.futures.ThreadPoolExecutor(4).map(on, jax.devices())
    assert len(others) == 7
    for other in others:
        assert_equal_bits([other], [first])


@pytest.mark.parametrize("name", DRAWS)
def test_moments_and_bounds(name):
    init, deviation, bound = DRAWS[name]

    def drawn(seed):
        return np.asarray(Initialization(lambda: init(jax.random.key(seed), SHAPE))())

    first, second = drawn(1), drawn(2)
    error = 5 / math.sqrt(first.size)
    assert abs(first.mean()) < error * deviation
    assert first.std() == pytest.approx(deviation, rel=error)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < error
    assert abs(np.corrcoef(first.ravel()[1:], first.ravel()[:-1])[0, 1]) < error
    np.testing.assert_array_equal(first, drawn(1))
    if bound is not None:
        assert 0.99 * bound < abs(first).max() <= bound * (1 + 1e-4)
