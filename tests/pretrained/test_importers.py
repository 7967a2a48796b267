"""Importing PyTorch's checkpoints: what does not fit is named, and nothing in a file is run."""

import pickle

import jax
import numpy as np
import pytest

from tests.refusals import refused

torch = pytest.importorskip("torch", reason="reading PyTorch's checkpoints needs PyTorch (requirements-parity.txt)")

from benchmarks.torch_models import resnet3d, slowfast  # noqa: E402
from tests.models.reference import comparison  # noqa: E402
from vidjax.errors import ConfigError, DataError  # noqa: E402
from vidjax.models import create  # noqa: E402
from vidjax.pretrained.importers import (  # noqa: E402
    from_pyslowfast,
    from_pytorchvideo,
    from_torchvision,
    read_checkpoint,
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


# Checkpoints.


@pytest.mark.parametrize("wrap", [lambda s: {"model_state": s, "epoch": 196}, lambda s: {"state_dict": s}, lambda s: s])
def test_a_checkpoint_is_read_from_where_it_is_kept(tmp_path, wrap):
    model = comparison.randomize(resnet3d.ResNet3D(K, width_multiplier=0.1))
    torch.save(wrap(model.state_dict()), tmp_path / "model.pyth")
    got, want = read_checkpoint(tmp_path / "model.pyth"), comparison.state(model)
    assert got.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)


def test_bfloat16_is_widened(tmp_path):
    torch.save({"weight": torch.tensor([1.5, -2.0], dtype=torch.bfloat16)}, tmp_path / "model.pt")
    value = read_checkpoint(tmp_path / "model.pt")["weight"]
    assert value.dtype == np.float32 and value.tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(2).to(torch.float8_e4m3fn),
        torch.eye(2).to_sparse(),
        torch.empty(2, device="meta"),
    ],
    ids=["float8", "sparse", "meta"],
)
def test_tensors_that_numpy_does_not_have_are_named(tmp_path, tensor):
    torch.save({"conv.weight": tensor}, tmp_path / "model.pt")
    with refused(DataError, "model.pt", "'conv.weight'", "NumPy", tensor.dtype, tensor.layout):
        read_checkpoint(tmp_path / "model.pt")


class Intruder:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, 2))])
def test_a_checkpoint_cannot_run_code(tmp_path, save):
    path, trace = tmp_path / "model.pyth", tmp_path / "trace"
    save({"model_state": {"weight": Intruder(trace)}}, path)
    with refused(DataError, "model.pyth") as caught:
        read_checkpoint(path)
    assert not trace.exists()
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize(
    "content, tokens",
    [
        ({"model_state": {"weight": 3.0}}, ("'weight'", "float")),
        ({"weight": torch.ones(1), "epoch": 3}, ("'epoch'", "int")),
        ({3: torch.ones(1)}, ("3", "Tensor")),
        ([torch.ones(1)], ()),
        ({}, ()),
    ],
)
def test_other_content_is_refused(tmp_path, content, tokens):
    torch.save(content, tmp_path / "model.pt")
    with refused(DataError, tmp_path / "model.pt", *tokens):
        read_checkpoint(tmp_path / "model.pt")


def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path):
    path = tmp_path / "model.pt"
    with refused(DataError, tmp_path / "model.pt"):
        read_checkpoint(path)
    with refused(DataError, tmp_path):
        read_checkpoint(tmp_path)
    torch.save({"weight": torch.ones(1000)}, path)
    whole = path.read_bytes()
    for damaged in (b"", b"weights", whole[: len(whole) // 2], whole[:100]):
        path.write_bytes(damaged)
        with refused(DataError, "model.pt"):
            read_checkpoint(path)


def test_without_torch_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with refused(ConfigError, "torch"):
        read_checkpoint(tmp_path / "model.pt")


def test_a_torch_that_is_not_safe_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    with refused(ConfigError, "2.5.1+cpu", "torch"):
        read_checkpoint(tmp_path / "model.pt")
