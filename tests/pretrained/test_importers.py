"""Importing parameters of PyTorch's networks: what does not fit is named."""

import jax
import numpy as np
import pytest

from tests.refusals import refused

pytest.importorskip("torch", reason="the networks to compare with need PyTorch (requirements-parity.txt)")

from benchmarks.torch_models import resnet3d, slowfast
from tests.models.reference import comparison
from vidjax.errors import ConfigError, DataError
from vidjax.models import create
from vidjax.pretrained.importers import (
    from_pyslowfast,
    from_pytorchvideo,
    from_torchvision,
)

K = 11


@pytest.fixture(scope="module")
def small():
    """A small module of each importer, with its counterpart's state."""
    pairs = {
        from_pyslowfast: (create("slow_r50", K, width=4), slowfast.SinglePathway(K, width=4)),
        from_torchvision: (create("r3d_18", K, width_multiplier=0.1), resnet3d.ResNet3D(K, width_multiplier=0.1)),
    }
    return {load: (module, comparison.state(comparison.randomize(peer))) for load, (module, peer) in pairs.items()}


@pytest.mark.parametrize(
    "load, name", [(from_pyslowfast, "s4.pathway0_res5.branch2.c_bn.running_var"), (from_torchvision, "fc.bias")]
)
def test_importers_refuse_what_does_not_fit(small, load, name):
    module, state = small[load]
    load(module, {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")})
    shape = state[name].shape

    def refuse(changed, *tokens):
        with refused(DataError, *tokens):
            load(module, changed)

    without = {n: v for n, v in state.items() if n != name}
    refuse(without, f"'{name}'")
    refuse({n: v for n, v in list(without.items())[1:]}, "1")
    refuse(state | {"nonlocal.g.weight": np.zeros(3)}, "'nonlocal.g.weight'")
    wider = state | {name: np.zeros((shape[0] + 1,), np.float32)}
    refuse(wider, f"'{name}'", f"({shape[0] + 1},)", shape)
    refuse(state | {name: np.zeros(shape, np.int64)}, f"'{name}'", "int64")


def test_a_kernel_of_another_shape_is_named_with_both_shapes_in_the_layout_of_the_checkpoint(small):
    module, state = small[from_pyslowfast]
    name = "s1.pathway0_stem.conv.weight"
    with refused(DataError, f"'{name}'", "(4, 3, 7, 7)", "(4, 3, 1, 7, 7)"):
        from_pyslowfast(module, state | {name: state[name][:, :, 0]})


def test_importers_widen_half_precision(small):
    module, state = small[from_torchvision]
    half = {name: value.astype(np.float16) for name, value in state.items()}
    variables = from_torchvision(module, half)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype("float32")}
    np.testing.assert_array_equal(variables["params"]["classes"]["bias"], half["fc.bias"].astype(np.float32))


@pytest.mark.parametrize("load", [from_pyslowfast, from_pytorchvideo, from_torchvision])
def test_importers_refuse_other_models(load):
    with refused(ConfigError, "C3D"):
        load(create("c3d", K), {})
