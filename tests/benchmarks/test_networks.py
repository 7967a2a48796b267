"""The networks of `benchmarks.train_step` are the same in JAX and in PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from benchmarks import jax_step, mobilenet, networks
from benchmarks.mobilenet import MobileNetV2
from vidjax.models import i3d

SLOW = ("c3d_small", "slowfast_r18_small", "i3d", "mobilenet_v2")  # to compile


def test_mobilenet_has_the_published_parameters():
    """3.5 million in the authors' repository; 3,504,872 in torchvision's."""
    variables = jax.eval_shape(MobileNetV2(1000).init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == 3_504_872


def carried(name, model, module, clip):
    """The variables of the network in JAX, from those of the one in PyTorch."""
    from tests.models.reference import comparison
    from vidjax.pretrained.importers import from_pyslowfast

    if name == "c3d_small":
        return model.variables()
    if name == "slowfast_r18_small":
        return from_pyslowfast(module, comparison.state(model))
    weights = {key: value for key, value in comparison.state(model).items() if "num_batches" not in key}
    if name == "lstm":
        return {"params": from_lstm(weights)}
    if name == "i3d":
        from tests.benchmarks.test_accelerator_networks import from_i3d

        return from_i3d(weights)
    flat = {}
    for key, value in weights.items():
        path, leaf = RULES[name](*key.rsplit(".", 1))
        is_norm = "norm" in path
        collection = "batch_stats" if leaf.startswith("running") else "params"
        leaf = {"running_mean": "mean", "running_var": "var", "weight": "scale" if is_norm else "kernel"}.get(
            leaf, leaf
        )
        if path == "classifier/fc6" and leaf == "kernel":
            value = value.reshape(len(value), -1, model.left, model.left).transpose(0, 2, 3, 1).reshape(len(value), -1)
        if leaf == "kernel":
            value = np.moveaxis(value, (1, 0), (-2, -1))
        flat[f"{collection}/{path}/{leaf}"] = value
    return traverse_util.unflatten_dict(flat, sep="/")


def early_fusion_path(layer, leaf):
    if layer.startswith("fc"):
        return f"classifier/{layer}", leaf
    return f"features/{layer}" + ("/batch" if "norm" in layer else ""), leaf


def mobilenet_path(layer, leaf):
    if layer == "classes":
        return layer, leaf
    if layer.endswith("_norm"):
        return f"{layer.removesuffix('_norm').replace('.', '/')}/norm", leaf
    return f"{layer.replace('.', '/')}/conv", leaf


RULES = {"early_fusion": early_fusion_path, "mobilenet_v2": mobilenet_path}


def from_lstm(weights):
    features = weights["lstm.weight_hh_l0"].shape[1]
    params = {}
    for number, gate in enumerate("ifgo"):
        part = slice(number * features, (number + 1) * features)
        params[f"i{gate}"] = {"kernel": weights["lstm.weight_ih_l0"][part].T}
        params[f"h{gate}"] = {"kernel": weights["lstm.weight_hh_l0"][part].T, "bias": weights["lstm.bias_hh_l0"][part]}
    classes = {"kernel": weights["classes.weight"].T, "bias": weights["classes.bias"]}
    return {"lstm": params, "classes": classes}


def each(names):
    return [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in names]


def shorten(monkeypatch):
    """Leaves I3D its modules after a pooling and MobileNet a residual block: the whole takes a minute to compile."""
    from benchmarks.torch_models import i3d as their_i3d
    from benchmarks.torch_models import mobilenet as their_mobilenet

    assert {f"Mixed_{part}": branches for part, branches in their_i3d.MIXED.items()} == i3d._MIXED
    assert list(mobilenet.BLOCKS) == their_mobilenet.BLOCKS
    parts = {part: their_i3d.MIXED[part] for part in their_i3d.POOLS}
    monkeypatch.setattr(their_i3d, "MIXED", parts)
    monkeypatch.setattr(i3d, "_MIXED", {f"Mixed_{part}": branches for part, branches in parts.items()})
    for module in (mobilenet, their_mobilenet):
        monkeypatch.setattr(module, "BLOCKS", module.BLOCKS[:2])


@pytest.mark.parametrize("name", each(networks.TINY))
def test_both_frameworks_train_the_same_network(name, monkeypatch):
    """In float64: in float32 rounding alone moves MobileNet's third loss by a tenth."""
    pytest.importorskip("torch", reason="parity needs PyTorch (requirements-parity.txt)")
    from benchmarks import torch_step
    from tests.models.reference import comparison

    shorten(monkeypatch)
    network = networks.TINY[name]
    clip, label = networks.batch(network)
    monkeypatch.setattr(networks, "batch", lambda _: (clip.astype(np.float64), label))
    model = comparison.randomize(torch_step.build(network))
    for place, buffer in model.named_buffers():
        if place.endswith("norm.weight"):  # of a normalization that has no gamma
            buffer.fill_(1.0)
    variables = carried(name, model, jax_step.build(network, native=False), clip)
    theirs = torch_step.prepare(network, False, model.double())
    wanted = [theirs() for _ in range(3)]
    with jax.enable_x64(True):
        ours = jax_step.prepare(network, False, jax.tree.map(np.float64, variables))
        np.testing.assert_allclose([ours() for _ in range(3)], wanted, rtol=1e-9)
    assert len(set(wanted)) == 3
