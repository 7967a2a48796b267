"""Matrix capsules compute the papers' equations, written out here in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import random_variables
from tests.refusals import refused
from vidjax.layers.matrix_capsules import Capsules, ClassCaps, ConvCaps, EMRouting, PrimaryMatrixCaps, em_route

INPUTS, J, H = 6, 3, 16
TINY = 1e-6


def em_in_numpy(votes, activations, beta_use, beta_active, iterations, final, relative=False, least=TINY):
    """Procedure 1 of Hinton et al. 2018, for one group of capsules."""
    share = np.full(votes.shape[:2], 1 / votes.shape[1])
    for t in range(1, iterations + 1):
        mean, variance, active = [], [], []
        for j in range(votes.shape[1]):
            r = share[:, j] * activations
            total = r.sum() + TINY
            mean.append((r[:, None] * votes[:, j]).sum(0) / total)
            variance.append((r[:, None] * (votes[:, j] - mean[j]) ** 2).sum(0) / total + least)
            cost = ((beta_use[j] + np.log(np.sqrt(variance[j]))) * total).sum()
            if relative:
                cost /= activations.sum() / votes.shape[1] + TINY
            active.append(1 / (1 + np.exp(-final * (1 - 0.95**t) * (beta_active[j] - cost))))
        density = np.array(
            [
                [
                    np.prod(
                        np.exp(-((votes[i, j] - mean[j]) ** 2) / (2 * variance[j])) / np.sqrt(2 * np.pi * variance[j])
                    )
                    for j in range(votes.shape[1])
                ]
                for i in range(len(votes))
            ]
        )
        share = active * density / (active * density).sum(1, keepdims=True)
    return np.array(mean), np.array(active)


def example(seed=0):
    rng = np.random.default_rng(seed)
    # Votes near each other, as those of capsules that agree: their densities can be computed without logarithms.
    votes = rng.normal(size=(1, J, H)) + 0.5 * rng.normal(size=(INPUTS, J, H))
    return votes, rng.uniform(size=INPUTS), rng.normal(size=J), rng.normal(size=J)


@pytest.mark.parametrize("more", [(), (True,), (True, 0.1)])
@pytest.mark.parametrize("iterations", [1, 3])
def test_em_routing_is_that_of_the_paper(iterations, more):
    """And with costs relative to the inputs, and with more variance."""
    with jax.enable_x64(True):
        got = jax.jit(em_route, static_argnums=4)(*example(), EMRouting(iterations, 0.5, *more))
    for ours, wanted in zip(got, em_in_numpy(*example(), iterations, 0.5, *more)):
        np.testing.assert_allclose(ours, wanted, rtol=1e-9)


def test_a_relative_cost_does_not_grow_with_the_inputs():
    votes, activations, *betas = (array.astype(np.float32) for array in example())
    more = np.tile(votes, (20, 1, 1)), np.tile(activations, 20)
    few, many = (em_route(*inputs, *betas, EMRouting(3, 0.5, True)) for inputs in ((votes, activations), more))
    for ours, wanted in zip(many, few):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-4)
    of_few, of_many = (em_route(*inputs, *betas, EMRouting(3, 0.5))[1] for inputs in ((votes, activations), more))
    assert abs(of_few - of_many).max() > 0.1


def test_gradients_of_em_routing():
    arrays = example(1)
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(J, H)), rng.normal(size=J)

    def weighted(route, arrays, *form):
        return sum((w * result).sum() for w, result in zip(weights, route(*arrays, *form)))

    with jax.enable_x64(True):
        gradient = jax.grad(lambda *arrays: weighted(em_route, arrays, EMRouting(2, 0.5)), argnums=(0, 1, 2, 3))
        got = jax.jit(gradient)(*arrays)
    for number, gradient in enumerate(got):
        for place in itertools.islice(np.ndindex(*arrays[number].shape), 0, None, 17):
            sides = []
            for step in (1e-6, -1e-6):
                moved = [array.copy() for array in arrays]
                moved[number][place] += step
                sides.append(weighted(em_in_numpy, moved, 2, 0.5))
            np.testing.assert_allclose(gradient[place], (sides[0] - sides[1]) / 2e-6, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("routing", [EMRouting(), EMRouting(2, 1.0, relative_cost=True, least_variance=0.05)])
def test_em_routing_is_finite_for_zeros_and_in_bfloat16(routing):
    zeros = jnp.zeros((INPUTS, J, H)), jnp.zeros(INPUTS), jnp.zeros(J), jnp.zeros(J)
    narrow = tuple(jnp.asarray(array, jnp.bfloat16) for array in example())

    @jax.jit
    def outcome(*arrays):
        def total(*arrays):
            return sum(x.astype(jnp.float32).sum() for x in em_route(*arrays, routing))

        return (*em_route(*arrays, routing), *jax.grad(total, (0, 1))(*arrays))

    for arrays in (zeros, narrow):
        for array in outcome(*arrays):
            assert np.isfinite(np.asarray(array, np.float32)).all()
            assert array.dtype == arrays[0].dtype


def random_capsules(shape, types, seed=0):
    rng = np.random.default_rng(seed)
    return Capsules(
        rng.normal(size=(*shape, types, 4, 4)),
        rng.uniform(0.2, 0.8, size=(*shape, types)),
    )


def routed_in_numpy(votes, activations, params):
    arrays = (
        votes.reshape(-1, votes.shape[-3], 16),
        activations.reshape(-1),
        params["beta_use"],
        params["beta_active"],
    )
    mean, active = em_in_numpy(*(np.asarray(array, np.float64) for array in arrays), 3, 0.01)
    return mean.reshape(-1, 4, 4), active


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield {"param_dtype": jnp.float64}


@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("shape, window, strides", [((2, 5, 6), (3, 3), (1, 2)), ((1, 3, 5, 5), (2, 3, 3), (1, 2, 2))])
def test_convolutional_capsules_route_within_windows(shape, window, strides, pool, double):
    capsules = random_capsules(shape, 2)
    layer = ConvCaps(3, window, strides, pool=pool, **double)
    got, variables = jax.jit(layer.init_with_output)(jax.random.key(0), capsules)
    params = variables["params"]["routing"]
    kernel = np.asarray(params["kernel"], np.float64)
    places = [range(0, size - extent + 1, step) for size, extent, step in zip(shape[1:], window, strides)]
    assert got.poses.shape == (shape[0], *map(len, places), 3, 4, 4)
    for n, *starts in itertools.product(range(shape[0]), *places):
        inside = (n, *(slice(start, start + extent) for start, extent in zip(starts, window)))
        poses = np.asarray(capsules.poses[inside], np.float64).reshape(-1, 2, 4, 4)
        activations = np.asarray(capsules.activations[inside], np.float64).reshape(-1, 2)
        if pool:
            poses, activations = poses.mean(0), activations.mean(0)
        votes = np.einsum("ixy,ijyz->ijxz", poses.reshape(-1, 4, 4), kernel)
        mean, active = routed_in_numpy(votes, activations, params)
        here = (n, *(start // step for start, step in zip(starts, strides)))
        np.testing.assert_allclose(got.poses[here], mean, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(got.activations[here], active, rtol=1e-7)


def test_class_capsules_add_coordinates_to_the_last_column(double):
    capsules = random_capsules((2, 1, 2, 3), 2)
    layer = ClassCaps(3, **double)
    got, variables = jax.jit(layer.init_with_output)(jax.random.key(0), capsules)
    params = variables["params"]["routing"]
    votes = np.einsum("nthwixy,ijyz->nthwijxz", capsules.poses, params["kernel"]).astype(np.float64)
    votes[:, :, 0, :, :, :, 1, 3] -= 1  # rows -1 and 1
    votes[:, :, 1, :, :, :, 1, 3] += 1
    votes[:, :, :, 0, :, :, 2, 3] -= 1  # columns -1, 0 and 1
    votes[:, :, :, 2, :, :, 2, 3] += 1
    for n in range(2):
        mean, active = routed_in_numpy(votes[n], np.asarray(capsules.activations[n]), params)
        np.testing.assert_allclose(got.poses[n], mean, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(got.activations[n], active, rtol=1e-7)


def test_bounded_votes_give_the_same_values_and_gradients(double):
    capsules = random_capsules((2, 4, 5, 5), 2)
    whole, bounded = (
        ConvCaps(8, (2, 3, 3), routing=EMRouting(vote_megabytes=megabytes), **double) for megabytes in (None, 0.001)
    )
    variables = jax.jit(whole.init)(jax.random.key(0), capsules)

    def outcome(layer):
        both = jax.jit(jax.value_and_grad(lambda v, c: sum(x.sum() for x in layer.apply(v, c)), (0, 1)))
        return both(variables, capsules)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7), outcome(bounded), outcome(whole))


def gradient_bytes(vote_megabytes, pool):
    """Of working memory for the gradient of what a layer of 1.3 (pooled) or 12 megabytes of votes gets."""
    capsules = jax.tree.map(jnp.float32, random_capsules((4, 3, 10, 10), 6))
    layer = ConvCaps(6, (1, 3, 3), pool=pool, routing=EMRouting(vote_megabytes=vote_megabytes))
    variables = jax.eval_shape(layer.init, jax.random.key(0), capsules)
    step = jax.jit(jax.grad(lambda v, c: sum(x.sum() for x in layer.apply(v, c)), (0, 1)))
    return step.lower(variables, capsules).compile().memory_analysis().temp_size_in_bytes


# Below 1 MB, what is no vote has the larger part of the unpooled layer's memory.
@pytest.mark.parametrize("pool, bound", [(True, 0.5), (False, 2.0)])
def test_memory_of_votes_is_bounded(pool, bound):
    few, more, everything = (gradient_bytes(megabytes, pool) for megabytes in (0.1, bound, None))
    assert few < more < 0.7 * everything


@pytest.mark.parametrize("window, strides", [((3, 3), 1), ((1, 3, 3), (1, 1)), ((5, 3, 3), 1)])
@pytest.mark.parametrize("pool", [True, False])
def test_a_window_that_does_not_fit_is_refused(window, strides, pool):
    with refused(ValueError, window, "(4, 6, 6)"):
        ConvCaps(3, window, strides, pool).init(jax.random.key(0), random_capsules((1, 4, 6, 6), 2))


def test_routing_takes_an_iteration():
    with refused(ValueError, "iterations=0", "1"):
        EMRouting(0)


def test_maps_begin_near_the_identity():
    layer, capsules = ClassCaps(5), random_capsules((1, 2, 2), 40)
    kernel = jax.jit(layer.init)(jax.random.key(0), capsules)["params"]["routing"]["kernel"]
    assert abs(kernel.mean((0, 1)) - np.eye(4)).max() < 0.03
    assert abs((kernel - np.eye(4)).std() - 0.1) < 0.01


def test_primary_capsules():
    x = random_variables.normal((2, 4, 6, 6, 3))
    layer = PrimaryMatrixCaps(5, (3, 3, 3))
    variables = random_variables.of(layer, x)
    capsules = layer.apply(variables, x)
    conv = variables["params"]["conv"]
    numbers = jax.lax.conv_general_dilated(
        x, conv["kernel"], (1, 1, 1), "VALID", dimension_numbers=("NTHWC", "THWIO", "NTHWC")
    )
    poses = (numbers + conv["bias"])[..., : 5 * 16].reshape(2, 2, 4, 4, 5, 4, 4)
    np.testing.assert_allclose(capsules.poses, poses, atol=1e-5)
    activations = (numbers + conv["bias"])[..., 5 * 16 :]
    np.testing.assert_allclose(capsules.activations, 1 / (1 + np.exp(-activations)), atol=1e-6)
