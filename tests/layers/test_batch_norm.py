import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tests.refusals import refused
from vidjax.layers.normalization import BatchNorm

CLIPS = np.random.default_rng(0).normal(1.0, 2.0, (16, 3, 4, 5)).astype(np.float32)


def start(**options):
    module = BatchNorm(**options)
    variables = module.init(jax.random.key(0), CLIPS, train=True)
    params = jax.tree.map(lambda p: p + jnp.arange(p.size, dtype=p.dtype), variables["params"])
    return module, {**variables, "params": params}


def trained(module, variables, x):
    return module.apply(variables, x, train=True, mutable=["batch_stats"])


@pytest.mark.parametrize("use_scale", [True, False])
def test_it_is_that_of_flax(use_scale):
    module, variables = start(use_scale=use_scale, momentum=0.7, epsilon=1e-3)
    reference = nn.BatchNorm(momentum=0.7, epsilon=1e-3, use_scale=use_scale)
    expected, stats = reference.apply(variables, CLIPS, use_running_average=False, mutable=["batch_stats"])
    got, changed = trained(module, variables, CLIPS)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), changed["batch_stats"], stats["batch_stats"])
    expected = reference.apply({**variables, **stats}, CLIPS, use_running_average=True)
    np.testing.assert_allclose(module.apply({**variables, **stats}, CLIPS, train=False), expected, rtol=1e-5, atol=1e-5)


def test_groups_are_normalized_on_their_own():
    grouped, variables = start(group_size=4)
    whole, _ = start()
    got, changed = trained(grouped, variables, CLIPS)
    for first in range(0, 16, 4):
        expected, _ = trained(whole, variables, CLIPS[first : first + 4])
        np.testing.assert_allclose(got[first : first + 4], expected, rtol=1e-5, atol=1e-5)
    assert not np.allclose(got, trained(whole, variables, CLIPS)[0], atol=1e-3)
    # The running statistics are those of the whole batch.
    _, of_all = trained(whole, variables, CLIPS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), changed, of_all)


@pytest.mark.parametrize("group_size", [None, 2, 4, 8])
def test_groups_do_not_depend_on_the_devices(group_size):
    """4 devices of 4 examples: groups within a device, and over two of them."""
    devices = jax.devices()[:4]
    alone, variables = start(group_size=group_size)
    expected, stats = trained(alone, variables, CLIPS)
    module = BatchNorm(group_size=group_size, axis_name="devices")
    parallel = jax.pmap(lambda x: trained(module, variables, x), "devices", devices=devices)
    got, changed = parallel(CLIPS.reshape(4, 4, *CLIPS.shape[1:]))
    np.testing.assert_allclose(got.reshape(CLIPS.shape), expected, rtol=1e-5, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[3], b, rtol=1e-5), changed, stats)
    split = NamedSharding(Mesh(np.array(devices), ("devices",)), PartitionSpec("devices"))
    got, changed = jax.jit(lambda x: trained(alone, variables, x))(jax.device_put(CLIPS, split))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_a_group_that_does_not_fit_is_refused():
    module, variables = start(group_size=5)
    with refused(ValueError, "5", "1 x 16"):
        trained(module, variables, CLIPS)


def test_moments_are_given_where_they_are_asked_for():
    module, variables = start(group_size=4)
    _, changed = module.apply(variables, CLIPS, train=True, mutable=["batch_stats", "batch_moments"])
    moments = changed["batch_moments"]
    np.testing.assert_allclose(moments["mean"], CLIPS.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(moments["var"], CLIPS.var(axis=(0, 1, 2)), rtol=1e-5)


# Channels far from zero: (mean, standard deviation).
FAR = ((0.0, 1.0), (1000.0, 1.0), (1000.0, 0.1), (-3e4, 10.0), (1e-3, 1e-2))
FAR_CLIPS = np.random.default_rng(1).normal(0, 1, (16, 4, 24, 24, len(FAR))) * [s for _, s in FAR] + [m for m, _ in FAR]
FAR_CLIPS = FAR_CLIPS.astype(np.float32)


def of_torch(clips):
    """Output, mean and (biased) variance of PyTorch's batch normalization after one step with momentum 1."""
    torch = pytest.importorskip("torch", reason="parity needs PyTorch (requirements-parity.txt)")
    layer = torch.nn.BatchNorm3d(clips.shape[-1], momentum=1.0)
    output = layer(torch.from_numpy(np.moveaxis(clips, -1, 1).copy())).detach().numpy()
    count = clips.size // clips.shape[-1]
    var = layer.running_var.numpy() * (count - 1) / count
    return np.moveaxis(output, 1, -1), layer.running_mean.numpy(), var


def assert_like_torch(output, mean, var, clips):
    expected = of_torch(clips)
    np.testing.assert_allclose(output, expected[0], atol=1e-3)
    np.testing.assert_allclose(mean, expected[1], rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(var, expected[2], rtol=1e-3)
    np.testing.assert_allclose(np.std(output, axis=(0, 1, 2, 3))[:4], 1.0, rtol=1e-3)


def without_scale(**options):
    module = BatchNorm(momentum=0.0, **options)
    return module, BatchNorm(momentum=0.0).init(jax.random.key(0), FAR_CLIPS[:1], train=True)


def test_channels_far_from_zero():
    module, variables = without_scale()
    output, changed = trained(module, variables, FAR_CLIPS)
    stats = changed["batch_stats"]
    assert_like_torch(output, stats["mean"], stats["var"], FAR_CLIPS)
    again = module.apply({**variables, **changed}, FAR_CLIPS, train=False)
    np.testing.assert_allclose(again, of_torch(FAR_CLIPS)[0], atol=1e-3)


@pytest.mark.parametrize("group_size", [None, 2, 8])
def test_channels_far_from_zero_in_groups_and_over_devices(group_size):
    module, variables = without_scale(group_size=group_size, axis_name="devices")
    parallel = jax.pmap(lambda x: trained(module, variables, x), "devices", devices=jax.devices()[:4])
    output, changed = parallel(FAR_CLIPS.reshape(4, 4, *FAR_CLIPS.shape[1:]))
    output, stats = output.reshape(FAR_CLIPS.shape), jax.tree.map(lambda x: x[0], changed["batch_stats"])
    size = group_size or 16
    for first in range(0, 16, size):
        group = slice(first, first + size)
        np.testing.assert_allclose(output[group], of_torch(FAR_CLIPS[group])[0], atol=1e-3)
    _, mean, var = of_torch(FAR_CLIPS)
    np.testing.assert_allclose(stats["mean"], mean, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(stats["var"], var, rtol=1e-3)


@pytest.mark.parametrize("outlier", [0.0, 2000.0])
def test_the_first_places_may_be_unlike_the_others(outlier):
    clips = FAR_CLIPS.copy()
    clips[:, 0] = outlier  # what the mean is sought by at first: one of four frames
    module, variables = without_scale()
    output, changed = trained(module, variables, clips)
    expected = of_torch(clips)
    np.testing.assert_allclose(output, expected[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(changed["batch_stats"]["var"], expected[2], rtol=1e-3)


def test_gradients_are_those_of_float64():
    module, variables = without_scale()
    weights = np.random.default_rng(2).normal(size=FAR_CLIPS.shape).astype(np.float32)

    def loss(x, weights):
        return (trained(module, variables, x)[0] * weights).sum()

    got = jax.jit(jax.grad(loss))(FAR_CLIPS, weights)
    with jax.enable_x64(True):
        module = BatchNorm(momentum=0.0, param_dtype=jnp.float64)
        variables = jax.tree.map(lambda v: v.astype(np.float64), variables)
        expected = np.asarray(jax.jit(jax.grad(loss))(FAR_CLIPS.astype(np.float64), weights.astype(np.float64)))
    assert expected.dtype == np.float64
    for channel in range(len(FAR)):
        scale = np.abs(expected[..., channel]).max()
        np.testing.assert_allclose(got[..., channel] / scale, expected[..., channel] / scale, atol=1e-3)


def of_formula(x, params, group_size):
    """Result, mean and variance, straight from the definition."""
    grouped = x.reshape(x.shape[0] // group_size, group_size, -1, x.shape[-1])
    mean, var = (moment(grouped, (1, 2), keepdims=True) for moment in (jnp.mean, jnp.var))
    result = (grouped - mean) / jnp.sqrt(var + 1e-5) * params["scale"] + params["bias"]
    return result.reshape(x.shape), x.mean((0, 1, 2)), x.var((0, 1, 2))


@pytest.mark.parametrize("over_devices", [False, True])
@pytest.mark.parametrize("group_size", [2, 8, 16])
def test_gradients_of_all_that_it_computes(group_size, over_devices):
    """Of result and running statistics by input, scale and bias; in groups within a device and over several."""
    rng = np.random.default_rng(3)
    module, variables = start(momentum=0.0, group_size=group_size, axis_name="devices" if over_devices else None)
    weights = rng.normal(size=CLIPS.shape).astype(np.float32)
    of_mean, of_var = rng.normal(size=(2, 5)).astype(np.float32) * 30

    def loss(computed, weights, share=1.0):
        result, mean, var = computed
        return (result * weights).sum() + share * ((mean * of_mean).sum() + (var * of_var).sum())

    def own(x, params, weights):
        result, changed = trained(module, {**variables, "params": params}, x)
        stats = changed["batch_stats"]
        return loss((result, stats["mean"], stats["var"]), weights, 0.25 if over_devices else 1.0)

    gradient = jax.grad(own, (0, 1))
    if over_devices:
        parallel = jax.pmap(gradient, "devices", in_axes=(0, None, 0), devices=jax.devices()[:4])
        split = CLIPS.reshape(4, 4, *CLIPS.shape[1:]), variables["params"], weights.reshape(4, 4, *CLIPS.shape[1:])
        of_x, of_params = parallel(*split)
        got = of_x.reshape(CLIPS.shape), jax.tree.map(lambda each: each.sum(0), of_params)
    else:
        got = jax.jit(gradient)(CLIPS, variables["params"], weights)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda a: np.asarray(a, np.float64), (CLIPS, variables["params"], weights))
        expected = jax.grad(lambda x, p, w: loss(of_formula(x, p, group_size), w), (0, 1))(*wide)
        expected = jax.tree.map(np.asarray, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), got, expected)


def test_second_derivatives():
    module, variables = start()
    weights = np.random.default_rng(4).normal(size=CLIPS.shape).astype(np.float32)

    def penalty(function):
        return lambda x: jnp.square(jax.grad(lambda x: (function(x) * weights).sum())(x)).sum()

    got = jax.grad(penalty(lambda x: trained(module, variables, x)[0]))(CLIPS)
    expected = jax.grad(penalty(lambda x: of_formula(x, variables["params"], 16)[0]))(CLIPS)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


def test_gradients_keep_the_types_of_what_they_belong_to():
    module, variables = start(dtype=jnp.bfloat16)
    x = CLIPS.astype(jnp.bfloat16)
    got = jax.grad(lambda x, v: trained(module, v, x)[0].sum().astype(jnp.float32), (0, 1))(x, variables)
    assert got[0].dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(got[1])} == {jnp.dtype(jnp.float32)}
