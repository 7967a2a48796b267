"""Vector capsules compute the paper's equations, written out here in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax.layers.capsules import DenseCaps, MaskedDecoder, PrimaryCaps, lengths, route, squash

BATCH, INPUTS, P, J, D = 2, 5, 3, 4, 6


def squash_in_numpy(s):
    """Equation 1."""
    squared = (s**2).sum(-1, keepdims=True)
    return squared / (1 + squared) * s / np.sqrt(squared)


def route_in_numpy(inputs, kernel, iterations):
    """Procedure 1, with all votes, capsule by capsule."""
    result = np.zeros((len(inputs), *kernel.shape[2:]))
    for n, capsules in enumerate(inputs):
        votes = np.array([[capsule @ maps[:, j] for j in range(J)] for capsule, maps in zip(capsules, kernel)])
        logits = np.zeros(votes.shape[:2])
        for _ in range(iterations):
            coupling = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
            sums = [sum(c * vote for c, vote in zip(coupling[:, j], votes[:, j])) for j in range(J)]
            poses = np.array([squash_in_numpy(s) for s in sums])
            logits += np.einsum("ijd,jd->ij", votes, poses)
        result[n] = poses
    return result


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


@pytest.mark.parametrize("iterations, together", [(1, None), (2, 5), (3, None), (3, 2), (3, 9)])
def test_routing_is_that_of_the_paper(iterations, together):
    inputs, kernel, _ = example()
    with jax.enable_x64(True):
        got = jax.jit(functools.partial(route, iterations=iterations, together=together))(inputs, kernel)
    np.testing.assert_allclose(got, route_in_numpy(inputs, kernel, iterations), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("options", [{}, {"remat": True}, {"together": 2, "remat": True}])
def test_gradients_pass_through_all_iterations(options):
    inputs, kernel, weights = example(1)
    with jax.enable_x64(True):
        got = jax.jit(jax.grad(lambda x, k: (route(x, k, 3, **options) * weights).sum(), argnums=(0, 1)))(
            inputs, kernel
        )
    for gradient, wanted in zip(
        got,
        (
            numerical_gradient(lambda x: (route_in_numpy(x, kernel, 3) * weights).sum(), inputs),
            numerical_gradient(lambda k: (route_in_numpy(inputs, k, 3) * weights).sum(), kernel),
        ),
    ):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-8)


def test_the_layer_routes_all_capsules_below():
    inputs, _, _ = example()
    poses = jnp.asarray(inputs[:, :4].reshape(BATCH, 2, 2, P), jnp.float32)
    layer = DenseCaps(J, D)
    variables = layer.init(jax.random.key(0), poses)
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
        value, gradient = jax.value_and_grad(f)(zeros)
        assert value == 0
        assert np.isfinite(gradient).all()


def test_narrow_types_come_close_and_keep_their_type():
    inputs, kernel, _ = (jnp.asarray(array, jnp.float32) for array in example())
    wide = route(inputs, kernel, 3)
    narrow = route(inputs.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), 3)
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow.astype(jnp.float32), wide, atol=0.03)
    gradient = jax.grad(lambda x: route(x, kernel.astype(jnp.bfloat16), 3).sum())(inputs.astype(jnp.bfloat16))
    assert np.isfinite(gradient.astype(jnp.float32)).all()


def test_votes_are_never_formed():
    poses, layer = jnp.zeros((64, 500, 8)), DenseCaps(10, 16)
    kernel = jnp.zeros((500, 8, 10, 16))
    step = jax.jit(jax.grad(lambda k: layer.apply({"params": {"kernel": k}}, poses).sum()))
    votes = 64 * 500 * 10 * 16 * 4
    assert step.lower(kernel).compile().memory_analysis().temp_size_in_bytes < votes


@pytest.mark.parametrize("rank", [2, 3])
def test_primary_capsules_are_squashed_filters_of_a_convolution(rank):
    x = jax.random.normal(jax.random.key(0), (2, *(7, 8, 9)[:rank], 3))
    layer = PrimaryCaps(4, 5, (3,) * rank, strides=2)
    variables = layer.init(jax.random.key(1), x)
    kernel = variables["params"]["conv"]["kernel"]
    convolved = jax.lax.conv_general_dilated(
        x,
        kernel,
        (2,) * rank,
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC") if rank == 2 else ("NTHWC", "THWIO", "NTHWC"),
    )
    wanted = squash_in_numpy(np.asarray(convolved, np.float64).reshape(*convolved.shape[:-1], 4, 5))
    np.testing.assert_allclose(layer.apply(variables, x), wanted, atol=1e-5)


def test_the_decoder_sees_one_capsule_at_a_time():
    poses = jax.random.normal(jax.random.key(0), (2, 3, 4))
    decoder = MaskedDecoder(9, hidden=(6, 7))
    variables = decoder.init(jax.random.key(1), poses)
    drawn = decoder.apply(variables, poses)
    assert drawn.shape == (2, 3, 9)
    changed = decoder.apply(variables, poses.at[:, 1].add(1.0))
    assert (np.abs(changed - drawn).max((0, 2)) > 0).tolist() == [False, True, False]


def test_routing_takes_an_iteration():
    with pytest.raises(ValueError, match="iterations=0: routing takes at least 1"):
        DenseCaps(2, 3, iterations=0).init(jax.random.key(0), jnp.zeros((1, 4, 5)))
