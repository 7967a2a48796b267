"""The networks of `benchmarks.accelerator` are the same in JAX and in PyTorch, and so are their training steps."""

import functools

import jax
import numpy as np
import pytest
from flax import traverse_util

from benchmarks import accelerator_rows
from vidjax.models import create, summary

SLOW = ("slowfast", "r2plus1d", "i3d")  # to compile


def each():
    return [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in accelerator_rows.NETWORKS]


@functools.cache
def counted(name):
    net = accelerator_rows.network(name, tiny=False)
    return summary(create(net.model, net.classes, **net.options), rgb=(1, *net.clip, 3))


@pytest.mark.parametrize("name", accelerator_rows.NETWORKS)
def test_multiply_accumulates_are_those_of_the_summary(name):
    assert counted(name).macs == accelerator_rows.network(name, tiny=False).macs


@pytest.mark.parametrize("name", accelerator_rows.NETWORKS)
def test_the_peers_have_as_many_parameters(name):
    torch = pytest.importorskip("torch", reason="parity needs PyTorch (requirements-parity.txt)")
    from benchmarks import accelerator_torch

    net = accelerator_rows.network(name, tiny=False)
    with torch.device("meta"):
        peer = accelerator_torch.build(net)
    assert sum(parameter.numel() for parameter in peer.parameters()) == counted(name).parameters


def carried(name, model, module):
    """The variables of vidjax's network, from those of the one in PyTorch."""
    from tests.benchmarks import test_networks
    from tests.models.reference import comparison
    from vidjax.pretrained.importers import from_pyslowfast, from_torchvision

    weights = {key: value for key, value in comparison.state(model).items() if "num_batches" not in key}
    match name:
        case "slowfast":
            return from_pyslowfast(module, comparison.state(model))
        case "r2plus1d":
            return from_torchvision(module, comparison.state(model))
        case "c3d":
            return model.variables()
        case "early_fusion":
            return test_networks.carried(name, model, module, None)
        case "i3d":
            return from_i3d(weights)
        case "capsnet":
            return from_capsnet(weights)


def from_i3d(weights):
    units = {"branch0": "Branch_0/Conv3d_0a_1x1", "branch3": "Branch_3/Conv3d_0b_1x1"}
    units |= {f"branch{n}_{a}": f"Branch_{n}/Conv3d_0{a}_{k}x{k}" for n in (1, 2) for a, k in (("a", 1), ("b", 3))}
    stems = {"conv1a": "Conv3d_1a_7x7", "conv2b": "Conv3d_2b_1x1", "conv2c": "Conv3d_2c_3x3"}
    flat = {}
    for key, value in weights.items():
        *path, layer, leaf = key.split(".")
        if leaf == "weight":
            value, leaf = value.transpose(2, 3, 4, 1, 0), "kernel"
        collection = "batch_stats" if leaf.startswith("running") else "params"
        if layer == "classes":
            path, layer = ["Logits/Conv3d_0c_1x1"], None
        elif path[0] in stems:
            path = [stems[path[0]]]
        else:
            unit = units[path[1]]
            if path == ["mixed5b", "branch2_b"]:
                unit = "Branch_2/Conv3d_0a_3x3"
            path = [path[0].replace("mixed", "Mixed_"), unit]
        flat[(collection, *path, *([layer] if layer else []), leaf.removeprefix("running_"))] = value
    return traverse_util.unflatten_dict(flat)


def from_capsnet(weights):
    flat = {("class_caps", "kernel"): weights.pop("kernel")}
    places = {"conv1": ("conv1",), "primary": ("primary_caps", "conv")}
    for key, value in weights.items():
        layer, leaf = key.split(".")
        path = places.get(layer, ("decoder", layer))
        if leaf == "weight":
            value, leaf = np.moveaxis(value, (1, 0), (-2, -1)), "kernel"
        flat[(*path, leaf)] = value
    return {"params": traverse_util.unflatten_dict(flat)}


@pytest.mark.parametrize("name", each())
def test_both_frameworks_take_the_same_steps(name):
    """From uint8 clips to three losses, in float64."""
    torch = pytest.importorskip("torch", reason="parity needs PyTorch (requirements-parity.txt)")
    from benchmarks import accelerator_jax, accelerator_torch
    from tests.models.reference import comparison

    net, size = accelerator_rows.network(name, tiny=True), accelerator_rows.TINY_BATCH
    model = comparison.randomize(accelerator_torch.build(net))
    for place, buffer in model.named_buffers():
        if place.endswith("norm.weight"):  # of a normalization that has no gamma
            buffer.fill_(1.0)
    variables = carried(name, model, create(net.model, net.classes, **net.options))
    take = accelerator_torch.prepare(
        net, "float64", size, torch.device("cpu"), False, model=model.double(), learning_rate=1e-4
    )
    wanted = [float(take()) for _ in range(3)]
    with jax.enable_x64(True):
        training = accelerator_jax.prepare(
            net,
            "float64",
            size,
            jax.devices()[0],
            variables=jax.tree.map(np.float64, variables),
            learning_rate=1e-4,
        )
        training.compile()
        found = []
        for _ in range(3):
            training.take()
            found.append(training.loss())
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert len(set(wanted)) == 3
