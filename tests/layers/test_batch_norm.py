import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

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


def test_groups_are_normalised_on_their_own():
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
    with pytest.raises(ValueError, match="groups of 5 does not fit 1 x 16 examples"):
        trained(module, variables, CLIPS)


def test_moments_are_given_where_they_are_asked_for():
    module, variables = start(group_size=4)
    _, changed = module.apply(variables, CLIPS, train=True, mutable=["batch_stats", "batch_moments"])
    moments = changed["batch_moments"]
    np.testing.assert_allclose(moments["mean"], CLIPS.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(moments["square"], np.square(CLIPS).mean(axis=(0, 1, 2)), rtol=1e-5)
