"""Vector capsules compute the paper's equations, written out here in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import random_variables
from tests.refusals import refused
from vidjax.layers.capsules import DenseCaps, MaskedDecoder, PrimaryCaps, lengths, route, squash

BATCH, INPUTS, P, J, D = 2, 5, 3, 4, 6


def squash_in_numpy(s):
    """Equation 1."""
    squared = (s**2).sum(-1, keepdims=True)
    return squared / (1 + squared) * s / np.sqrt(squared)


def routed_in_numpy(inputs, kernel, iterations):
    """Procedure 1, with all votes, capsule by capsule: poses, and the last iteration's couplings [B, I, J]."""
    result, couplings = np.zeros((len(inputs), *kernel.shape[2:])), np.zeros((len(inputs), len(kernel), J))
    for n, capsules in enumerate(inputs):
        votes = np.array([[capsule @ maps[:, j] for j in range(J)] for capsule, maps in zip(capsules, kernel)])
        logits = np.zeros(votes.shape[:2])
        for _ in range(iterations):
            coupling = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            sums = [sum(c * vote for c, vote in zip(coupling[:, j], votes[:, j])) for j in range(J)]
            poses = np.array([squash_in_numpy(s) for s in sums])
            logits += np.einsum("ijd,jd->ij", votes, poses)
        result[n], couplings[n] = poses, coupling
    return result, couplings


def route_in_numpy(inputs, kernel, iterations):
    return routed_in_numpy(inputs, kernel, iterations)[0]


def numerical_gradient(f, x, step=1e-6):
    gradient = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        gradient[place] = (f(up) - f(down)) / (2 * step)
    return gradient


def example(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(BATCH, INPUTS, P)), rng.normal(size=(INPUTS, P, J, D)), rng.normal(size=(BATCH, J, D))


@pytest.mark.parametrize("iterations, block_size", [(1, None), (2, 5), (3, None), (3, 2), (3, 9)])
def test_routing_is_that_of_the_paper(iterations, block_size):
    inputs, kernel, _ = example()
    with jax.enable_x64(True):
        got = jax.jit(functools.partial(route, iterations=iterations, block_size=block_size))(inputs, kernel)
    np.testing.assert_allclose(got, route_in_numpy(inputs, kernel, iterations), rtol=1e-12, atol=1e-14)


def gradients_of(routing, inputs, kernel, weights):
    with jax.enable_x64(True):
        gradient = jax.grad(lambda x, k: (routing(x, k) * weights).sum(), argnums=(0, 1))
        return jax.tree.map(np.asarray, jax.jit(gradient)(inputs, kernel))


def as_layer(**options):
    return lambda x, k: DenseCaps(J, D, **options).apply({"params": {"kernel": k}}, x)


@pytest.mark.parametrize(
    "routing",
    [
        lambda x, k: route(x, k, 3),
        lambda x, k: route(x, k, 3, remat=True),
        lambda x, k: route(x, k, 3, block_size=2, remat=True),
        as_layer(),
        as_layer(vote_megabytes=0.0003),  # 2 inputs
    ],
)
def test_gradients_pass_through_all_iterations(routing):
    inputs, kernel, weights = example(1)
    got = gradients_of(routing, inputs, kernel, weights)
    for gradient, wanted in zip(
        got,
        (
            numerical_gradient(lambda x: (route_in_numpy(x, kernel, 3) * weights).sum(), inputs),
            numerical_gradient(lambda k: (route_in_numpy(inputs, k, 3) * weights).sum(), kernel),
        ),
    ):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("options", [{}, {"vote_megabytes": 0.0003}])
def test_detached_couplings_are_constants(options):
    inputs, kernel, weights = example(1)
    _, couplings = routed_in_numpy(inputs, kernel, 3)

    def last_sum(inputs, kernel):
        poses = squash_in_numpy(np.einsum("bij,bip,ipjd->bjd", couplings, inputs, kernel))
        return (poses * weights).sum()

    got = gradients_of(as_layer(detach=True, **options), inputs, kernel, weights)
    wanted = (
        numerical_gradient(lambda x: last_sum(x, kernel), inputs),
        numerical_gradient(lambda k: last_sum(inputs, k), kernel),
    )
    for gradient, expected in zip(got, wanted):
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)
    assert abs(got[0] - gradients_of(as_layer(), inputs, kernel, weights)[0]).max() > 1e-3


def test_the_layer_routes_all_capsules_below():
    inputs, _, _ = example()
    poses = jnp.asarray(inputs[:, :4].reshape(BATCH, 2, 2, P), jnp.float32)
    layer = DenseCaps(J, D)
    variables = random_variables.of(layer, poses)
    wanted = route_in_numpy(inputs[:, :4], np.asarray(variables["params"]["kernel"], np.float64), 3)
    np.testing.assert_allclose(layer.apply(variables, poses), wanted, atol=1e-6)


def test_squash_is_equation_1_and_keeps_lengths_below_1():
    s = np.random.default_rng(0).normal(size=(7, 5)) * np.logspace(-3, 3, 7)[:, None]
    with jax.enable_x64(True):
        np.testing.assert_allclose(squash(jnp.asarray(s)), squash_in_numpy(s), rtol=1e-12)
    assert (lengths(squash(jnp.asarray(s, jnp.float32))) <= 1).all()


def test_zero_vectors_have_values_and_gradients():
    zeros = jnp.zeros((BATCH, INPUTS, P))
    kernel = jnp.asarray(example()[1], jnp.float32)
    for f in (lambda x: squash(x).sum(), lambda x: lengths(x).sum(), lambda x: route(x, kernel, 3).sum()):
        value, gradient = jax.jit(jax.value_and_grad(f))(zeros)
        assert value == 0
        assert np.isfinite(gradient).all()


def test_narrow_types_keep_their_type_and_are_summed_in_float32():
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(0.1 * rng.normal(size=(BATCH, 2000, P)), jnp.bfloat16)
    kernel = jnp.asarray(0.1 * rng.normal(size=(2000, P, J, D)), jnp.bfloat16)
    narrow = jax.jit(lambda x, k: route(x, k, 3, block_size=20))(inputs, kernel)
    assert narrow.dtype == jnp.bfloat16
    wide = route_in_numpy(np.asarray(inputs, np.float64), np.asarray(kernel, np.float64), 3)
    np.testing.assert_allclose(narrow.astype(jnp.float32), wide, atol=0.0005)  # as near as the type is below 0.25
    gradient = jax.jit(jax.grad(lambda x: route(x, kernel, 3).sum()))(inputs)
    assert np.isfinite(gradient.astype(jnp.float32)).all()


def gradient_bytes(**options):
    """Of working memory for the gradient of all maps."""
    poses, kernel = jnp.zeros((64, 500, 8)), jnp.zeros((500, 8, 10, 16))
    layer = DenseCaps(10, 16, **options)
    step = jax.jit(jax.grad(lambda k: layer.apply({"params": {"kernel": k}}, poses).sum()))
    return step.lower(kernel).compile().memory_analysis().temp_size_in_bytes


def test_memory_is_bounded():
    votes = 64 * 500 * 10 * 16 * 4
    assert gradient_bytes() < votes
    kept = [gradient_bytes(vote_megabytes=megabytes) for megabytes in (0.5, 2.0, 1000.0)]
    assert kept[0] < kept[1] < kept[2] / 2


@pytest.mark.parametrize("rank", [2, 3])
def test_primary_capsules_are_squashed_filters_of_a_convolution(rank):
    x = random_variables.normal((2, *(7, 8, 9)[:rank], 3))
    layer = PrimaryCaps(4, 5, (3,) * rank, strides=2)
    variables = random_variables.of(layer, x)
    kernel, bias = variables["params"]["conv"]["kernel"], variables["params"]["conv"]["bias"]
    convolved = bias + jax.lax.conv_general_dilated(
        x,
        kernel,
        (2,) * rank,
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC") if rank == 2 else ("NTHWC", "THWIO", "NTHWC"),
    )
    wanted = squash_in_numpy(np.asarray(convolved, np.float64).reshape(*convolved.shape[:-1], 4, 5))
    np.testing.assert_allclose(layer.apply(variables, x), wanted, atol=1e-5)


def test_the_decoder_sees_one_capsule_at_a_time():
    poses = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    decoder = MaskedDecoder(9, hidden=(6, 7))
    variables = random_variables.of(decoder, poses)
    drawn = decoder.apply(variables, jnp.asarray(poses))
    assert drawn.shape == (2, 3, 9)
    for capsule in range(3):
        masked = np.zeros_like(poses)
        masked[:, capsule] = poses[:, capsule]
        x = masked.reshape(2, -1)
        for name in ("fc1", "fc2", "fc3"):
            layer = variables["params"][name]
            x = x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
            x = 1 / (1 + np.exp(-x)) if name == "fc3" else np.maximum(x, 0)
        np.testing.assert_allclose(drawn[:, capsule], x, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"vote_megabytes": 1.0}])
def test_routing_takes_an_iteration(options):
    with refused(ValueError, "iterations=0", "1"):
        DenseCaps(2, 3, iterations=0, **options).init(jax.random.key(0), jnp.zeros((1, 4, 5)))
