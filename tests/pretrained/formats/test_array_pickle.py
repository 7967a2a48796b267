"""Pickles of arrays are read; those that ask for more are refused, and nothing of them is called."""

import codecs
import os
import pickle

import numpy as np
import pytest

from tests.refusals import refused
from vidjax.errors import DataError
from vidjax.pretrained.formats import array_pickle

ARRAYS = {
    "matrix": np.arange(6, dtype=np.float32).reshape(2, 3),
    "column-major": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">i4"),
    "scalar": np.array(1.5, np.float16),
    "empty": np.zeros((0, 4), np.uint8),
    "flags": np.array([True, False]),
}


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Subclass(np.ndarray):
    pass


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_in_containers_come_back(tmp_path, protocol):
    path = tmp_path / "weights.ckpt"
    content = {"params": ARRAYS, "other": [ARRAYS["matrix"], (1, 2.5, "text", None, True)]}
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    found = array_pickle.read(path)
    for name, array in ARRAYS.items():
        assert found["params"][name].dtype == array.dtype and found["params"][name].shape == array.shape
        np.testing.assert_array_equal(found["params"][name], array)
    assert found["other"][1] == content["other"][1]


def test_the_names_of_old_and_new_numpy_are_admitted(tmp_path):
    pickled = pickle.dumps(ARRAYS["matrix"], protocol=3)
    for module in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        path = tmp_path / "weights.ckpt"
        path.write_bytes(pickled.replace(b"numpy._core.multiarray", module).replace(b"numpy.core.multiarray", module))
        np.testing.assert_array_equal(array_pickle.read(path), ARRAYS["matrix"])


def malicious(marker):
    """Name -> what is pickled; each would leave a file behind, or is nothing that arrays need."""
    return {
        "system": {"params": Calls(os.system, f"touch {marker}")},
        "eval": [Calls(eval, f"open({str(marker)!r}, 'w')")],
        "open": Calls(open, str(marker), "w"),
        "numpy's own": Calls(np.save, str(marker), 1),
        "codecs": Calls(codecs.encode, "x", "latin1"),
        "attribute": Calls(getattr, ARRAYS["matrix"], "tofile"),
        "inside of an array": np.array([Calls(os.system, f"touch {marker}")], object),
        "array of objects": np.array([1, "two"], object),
        "array of text": np.array(["one", "two"]),
        "array of fields": np.zeros(2, [("x", "f4"), ("y", "f4")]),
        "subclass": ARRAYS["matrix"].view(Subclass),
        "class": np.float32,
        "set": {"params": {1, 2}},
    }


@pytest.mark.parametrize("name", malicious("x"))
def test_anything_else_is_refused_in_one_line(tmp_path, name):
    marker, path = tmp_path / "marker", tmp_path / "weights.ckpt"
    path.write_bytes(pickle.dumps(malicious(marker)[name], protocol=4))
    with refused(DataError, path, "refused"):
        array_pickle.read(path)
    assert not any(entry.name.startswith("marker") for entry in tmp_path.iterdir())


def test_stand_ins_cannot_be_misused(tmp_path):
    """Shapes that do not fit the bytes, types that are none, and state where there is none to set."""
    path = tmp_path / "weights.ckpt"
    whole = pickle.dumps(np.zeros((3, 5), np.float32), protocol=3)
    shape = b"K\x03K\x05\x86"
    assert shape in whole
    programs = {
        "larger": whole.replace(shape, b"K\x7fK\x7f\x86"),
        "negative": whole.replace(shape, b"J\xff\xff\xff\xffJ\xf1\xff\xff\xff\x86"),
        "dtype of a list": b"\x80\x03cnumpy\ndtype\n]\x85R.",
        "ndarray called": b"\x80\x03cnumpy\nndarray\nK\x01\x85R.",
        "state of the class": b"\x80\x03cnumpy\nndarray\n}X\x01\x00\x00\x00aK\x01sb.",
        "reference outside": b"\x80\x03K\x01Q.",
    }
    for program in programs.values():
        path.write_bytes(program)
        with refused(DataError, path):
            array_pickle.read(path)


def test_damaged_and_missing_files(tmp_path):
    path = tmp_path / "weights.ckpt"
    for content in (b"", b"text", pickle.dumps(ARRAYS, protocol=4)[:-40]):
        path.write_bytes(content)
        with refused(DataError, "weights.ckpt"):
            array_pickle.read(path)
    with refused(DataError, tmp_path / "missing"):
        array_pickle.read(tmp_path / "missing")
