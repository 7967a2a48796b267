"""Files of `torch.save` come back as PyTorch reads them, without it, and nothing in them is run."""

import collections
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from tests.pretrained.formats.damage import assert_read_or_refused
from tests.refusals import refused
from vidjax.errors import DataError
from vidjax.pretrained.formats import read_arrays

torch = pytest.importorskip("torch", reason="writing PyTorch's files needs PyTorch (requirements-parity.txt)")


def save_old(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


SAVES = pytest.mark.parametrize("save", [torch.save, save_old], ids=["zip", "old"])


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    whole = torch.randn(4, 6)
    return collections.OrderedDict(
        plain=torch.randn(2, 3, 4),
        transposed=whole.t(),
        part=whole[1:3, ::2],
        repeated=torch.ones(1).expand(5),
        half=torch.randn(3).half(),
        bfloat16=torch.tensor([1.5, -2.0, float("inf")]).bfloat16(),
        double=torch.randn(2).double(),
        integers=torch.arange(5),
        bytes=torch.arange(5, dtype=torch.uint8),
        flags=torch.tensor([True, False]),
        scalar=torch.tensor(3),
        empty=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(torch.randn(2)),
    )


def expected(tensor):
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()


@SAVES
@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"model_state": s, "epoch": 196, "best": np.float64(3), "optimizer_state": [torch.ones(9)]},
        lambda s: {"state_dict": dict(s), "cfg": "text"},
        lambda s: s,
        lambda s: {"state_dict": {f"module.{name}": tensor for name, tensor in s.items()}},  # DistributedDataParallel
    ],
    ids=["model_state", "state_dict", "bare", "module."],
)
def test_tensors_come_back_as_pytorch_has_them(tmp_path, state, save, wrap):
    path = tmp_path / "model.any"
    save(wrap(state), path)
    arrays, format_, _ = read_arrays(path)
    assert format_ == "torch" and arrays.keys() == state.keys()
    for name, tensor in state.items():
        want = expected(tensor)
        assert arrays[name].dtype == want.dtype and arrays[name].shape == want.shape, name
        np.testing.assert_array_equal(arrays[name], want)


@SAVES
def test_a_whole_module_comes_back(tmp_path, save):
    """Its OrderedDict has an attribute with the versions of its layers."""
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    save(module.state_dict(), tmp_path / "m.pth")
    arrays = read_arrays(tmp_path / "m.pth").arrays
    assert list(arrays) == list(module.state_dict()) and arrays["1.num_batches_tracked"].dtype == np.int64
    np.testing.assert_array_equal(arrays["0.weight"], module[0].weight.detach())


def test_pytorch_is_not_imported(tmp_path, state):
    torch.save(state, tmp_path / "model.pth")
    code = (
        "import sys; from vidjax.pretrained.formats import read_arrays; read_arrays(sys.argv[1]);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "model.pth")], check=True)


# What PyTorch up to 0.3 wrote, put together here: another function rebuilds tensors, a storage can be a view of
# another, and parameters are objects.


def old_file(program, numbers=4, key=b"k", count=None):
    """A file of the older kind with one storage of float32 [0, 1, ...] and a pickle that is given as its opcodes."""
    start = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    content = np.arange(numbers, dtype="<f4").tobytes()
    count = numbers if count is None else count
    return start + b"\x80\x02" + program + b"." + pickle.dumps([key.decode()], 2) + struct.pack("<q", count) + content


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def storage(numel=4, view=b"N", kind=b"ctorch\nFloatStorage\n"):
    return b"(" + text(b"storage") + kind + text(b"k") + text(b"cpu") + integer(numel) + view + b"tQ"


def integer(value):
    return b"\x8a\x08" + struct.pack("<q", value)


def sizes(*values):
    return b"(" + b"".join(map(integer, values)) + b"t"


def tensor(storage, first, shape, strides, function=b"_rebuild_tensor", others=b""):
    rebuild = b"ctorch._utils\n" + function + b"\n"
    return rebuild + b"(" + storage + integer(first) + sizes(*shape) + sizes(*strides) + others + b"tR"


def mapping(value):
    return b"}" + text(b"w") + value + b"s"


PARAMETER = b"ctorch.nn.parameter\nParameter\n)\x81"


@pytest.mark.parametrize(
    "program, want",
    [
        (tensor(storage(), 0, (2, 2), (2, 1)), [[0, 1], [2, 3]]),
        (tensor(storage(), 1, (3,), (1,)), [1, 2, 3]),
        (tensor(storage(2, b"(" + text(b"v") + integer(1) + integer(2) + b"t"), 0, (2,), (1,)), [1, 2]),
        (PARAMETER + b"(" + tensor(storage(), 0, (2,), (2,)) + b"\x88NN\x89tb", [0, 2]),
        (tensor(storage(kind=b"ctorch.cuda\nFloatStorage\n"), 3, (), ()), 3),
    ],
    ids=["tensor", "offset", "view", "parameter", "cuda"],
)
def test_files_of_the_first_versions(tmp_path, program, want):
    path = tmp_path / "old.pth"
    path.write_bytes(old_file(mapping(program)))
    np.testing.assert_array_equal(read_arrays(path).arrays["w"], np.array(want, np.float32))


# What is refused.


@pytest.mark.parametrize(
    "program, tokens",
    [
        (tensor(storage(), 0, (5,), (1,)), ("'w'", "(5,)", "4")),
        (tensor(storage(), 3, (2,), (1,)), ("'w'",)),
        (tensor(storage(), 0, (2, 2), (3, 1)), ("'w'",)),
        (tensor(storage(400), 0, (400,), (1,)), ("'w'", "400")),
        (tensor(storage(), -1, (2,), (1,)), ()),
        (tensor(storage(), 0, (2,), (-1,)), ()),
        (tensor(storage(), 0, (2, 2), (1,)), ()),
        (tensor(storage(), 0, (2**62, 2**62), (0, 0)), ()),
        (tensor(storage(kind=b"ctorch\nDoubleStorage\n"), 0, (4,), (1,)), ("'k'",)),
        (tensor(storage(kind=b"ctorch\nQInt8Storage\n"), 0, (4,), (1,)), ("'torch.QInt8Storage'",)),
        (tensor(b"N", 0, (4,), (1,)), ()),
        (b"cos\nsystem\n(" + text(b"false") + b"tR", ("'os.system'",)),
        (b"cbuiltins\neval\n(" + text(b"1") + b"tR", ("'builtins.eval'",)),
        (b"ctorch._utils\n_rebuild_tensor\n}" + text(b"__call__") + b"Nsb", ()),
        (b"ctorch\nFloatStorage\n}" + text(b"name") + b"Nsb", ()),
        (b"\x96" + struct.pack("<Q", 2**40), ()),
        (b"r" + struct.pack("<I", 2**31 - 1), ()),
        (b"\x8e" + struct.pack("<Q", 2**40), ()),
    ],
)
def test_programs_that_claim_more_or_want_more_are_refused(tmp_path, program, tokens):
    path = tmp_path / "model.pth"
    path.write_bytes(old_file(mapping(program)))
    with refused(DataError, path, *tokens):
        read_arrays(path)


@pytest.mark.parametrize("count", [-1, 5, 2**60])
def test_a_storage_that_ends_after_the_file_is_refused(tmp_path, count):
    path = tmp_path / "model.pth"
    path.write_bytes(old_file(mapping(tensor(storage(), 0, (4,), (1,))), count=count))
    with refused(DataError, path, "'k'"):
        read_arrays(path)


def test_a_storage_in_an_archive_shorter_than_its_tensors_is_refused(tmp_path):
    torch.save({"w": torch.ones(100)}, tmp_path / "whole.pth")
    with zipfile.ZipFile(tmp_path / "whole.pth") as whole, zipfile.ZipFile(tmp_path / "short.pth", "w") as short:
        for name in whole.namelist():
            short.writestr(name, whole.read(name)[: 200 if name.endswith("data/0") else None])
    with refused(DataError, "short.pth", "'w'", "50", "100"):
        read_arrays(tmp_path / "short.pth")


def test_a_compressed_archive_is_refused(tmp_path):
    """A small one could hold anything of any size."""
    torch.save({"w": torch.zeros(100_000)}, tmp_path / "whole.pth")
    path = tmp_path / "small.pth"
    with zipfile.ZipFile(tmp_path / "whole.pth") as whole, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as small:
        for name in whole.namelist():
            small.writestr(name, whole.read(name))
    with refused(DataError, "small.pth", "compressed"):
        read_arrays(path)


@pytest.mark.parametrize(
    "tensor, name",
    [
        (torch.ones(2).to(torch.float8_e4m3fn), "torch."),
        (torch.eye(2).to_sparse(), "torch."),
        (torch.empty(2, device="meta"), "torch."),
        (torch.ones(2, dtype=torch.complex64), "torch.ComplexFloatStorage"),
    ],
    ids=["float8", "sparse", "meta", "complex"],
)
def test_what_is_no_dense_tensor_of_numbers_is_named(tmp_path, tensor, name):
    torch.save({"conv.weight": tensor}, tmp_path / "model.pt")
    with refused(DataError, "model.pt", name):
        read_arrays(tmp_path / "model.pt")


class Intruder:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    "save", [torch.save, save_old, lambda content, path: path.write_bytes(pickle.dumps(content, 2))]
)
def test_a_checkpoint_cannot_run_code(tmp_path, save):
    path, trace = tmp_path / "model.pyth", tmp_path / "trace"
    save({"model_state": {"weight": Intruder(trace)}}, path)
    with refused(DataError, "model.pyth", "'io.open'"):
        read_arrays(path)
    assert not trace.exists()


@SAVES
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
def test_other_content_is_refused(tmp_path, save, content, tokens):
    save(content, tmp_path / "model.pt")
    with refused(DataError, tmp_path / "model.pt", *tokens):
        read_arrays(tmp_path / "model.pt")


@SAVES
def test_a_damaged_file_is_read_or_refused(tmp_path, state, save):
    save(state, tmp_path / "whole")
    assert_read_or_refused((tmp_path / "whole").read_bytes(), tmp_path / "damaged")
