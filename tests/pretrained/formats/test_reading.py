"""Formats are recognized by content; what is damaged, or something else, is refused in one line that names the file."""

import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save

from tests.pretrained.formats.damage import assert_read_or_refused
from tests.refusals import refused
from vidjax.errors import DataError
from vidjax.pretrained.formats import read_arrays

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros((0, 2), np.float16), "c": np.array(3)}


def check(found, want):
    assert found.keys() == want.keys()
    for name, array in want.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape, name
        np.testing.assert_array_equal(found[name], array)


def test_safetensors_come_back_with_their_metadata(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(save(ARRAYS, {"license": "MIT"}))
    arrays, format_, metadata = read_arrays(path)
    check(arrays, ARRAYS)
    assert format_ == "safetensors" and metadata == {"license": "MIT"}


def raw_safetensors(kind, shape, content, **changed):
    entry = {"dtype": kind, "shape": shape, "data_offsets": [0, len(content)]} | changed
    header = json.dumps({"w": entry}).encode()
    return struct.pack("<Q", len(header)) + header + content


def test_bfloat16_is_widened_and_what_numpy_has_not_is_named(tmp_path):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(raw_safetensors("BF16", [2], np.array([0x3FC0, 0xC000], "<u2").tobytes()))
    found = read_arrays(path).arrays["w"]
    assert found.dtype == np.float32 and found.tolist() == [1.5, -2.0]
    path.write_bytes(raw_safetensors("F8_E4M3", [2], b"ab"))
    with refused(DataError, path, "'w'", "F8_E4M3"):
        read_arrays(path)


def test_a_header_of_any_length_is_that_of_safetensors(tmp_path):
    """128 = 0x80 is also the first byte of a pickle."""
    path = tmp_path / "weights"
    content = raw_safetensors("F32", [1], b"1234")
    length = struct.unpack("<Q", content[:8])[0]
    for longer in (128, 0x1F8B, 0x4B50):
        path.write_bytes(struct.pack("<Q", longer) + content[8 : 8 + length].ljust(longer) + b"1234")
        assert read_arrays(path).format == "safetensors"


def test_nested_pickles_are_flattened(tmp_path):
    path = tmp_path / "weights.ckpt"
    path.write_bytes(pickle.dumps({"params": {"conv": {"kernel": ARRAYS["a"]}}, "step": 3, "b": ARRAYS["b"]}, 4))
    check(read_arrays(path).arrays, {"params/conv/kernel": ARRAYS["a"], "b": ARRAYS["b"]})


def test_blobs_of_caffe2_come_back_whichever_python_wrote_them(tmp_path):
    path = tmp_path / "SLOWFAST.pkl"
    path.write_bytes(pickle.dumps({"blobs": {"conv1_w": ARRAYS["a"], "lr": 0.1}}, 2))
    check(read_arrays(path).arrays, {"conv1_w": ARRAYS["a"]})
    # Python 2 has bytes for text, and for what an array contains.
    content = np.array([1.5, 200], "<f4").tobytes()
    assert any(byte > 127 for byte in content)

    def text(value):
        return b"U" + bytes([len(value)]) + value

    dtype = b"cnumpy\ndtype\n" + text(b"f4") + b"K\x00K\x01\x87R" + b"(K\x03" + text(b"<") + b"NNNJ\xff\xff\xff\xff"
    dtype += b"J\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + b"K\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01K\x02\x85" + dtype + b"\x89" + text(content) + b"tb"
    path.write_bytes(b"\x80\x02}" + text(b"blobs") + b"}" + text(b"conv1_w") + array + b"ss.")
    check(read_arrays(path).arrays, {"conv1_w": np.array([1.5, 200], np.float32)})


def test_a_dictionary_of_the_same_dictionaries_is_refused(tmp_path):
    content = {"w": ARRAYS["a"]}
    for _ in range(60):
        content = {"left": content, "right": content}
    (tmp_path / "weights.ckpt").write_bytes(pickle.dumps(content, 4))
    with refused(DataError, tmp_path / "weights.ckpt"):
        read_arrays(tmp_path / "weights.ckpt")


def archive(**members):
    def write(path):
        with zipfile.ZipFile(path, "w") as file:
            for name, content in members.items():
                file.writestr(name, content)

    return write


@pytest.mark.parametrize(
    "content, tokens",
    [
        (b"", ()),
        (b"weights", ("safetensors",)),
        (b"<!DOCTYPE html><html>404</html>", ()),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", ("`git lfs pull`",)),
        (save({}), ()),
        (raw_safetensors("F32", [2], b"1234"), ("SafetensorError",)),
        (raw_safetensors("F32", [2**40], b"12345678"), ("SafetensorError",)),
        (pickle.dumps([1, 2], 2), ()),
        (pickle.dumps({"a": 1}, 2), ()),
    ],
)
def test_what_is_no_file_of_weights_is_refused(tmp_path, content, tokens):
    path = tmp_path / "weights"
    path.write_bytes(content)
    with refused(DataError, path, *tokens):
        read_arrays(path)


def test_other_archives_missing_files_and_folders_are_refused(tmp_path):
    archive(**{"readme.txt": "text"})(tmp_path / "weights.zip")
    for path in (tmp_path / "weights.zip", tmp_path / "missing", tmp_path):
        with refused(DataError, path):
            read_arrays(path)


@pytest.mark.parametrize(
    "whole", [save(ARRAYS, {"x": "y"}), pickle.dumps({"blobs": ARRAYS}, 2)], ids=["safetensors", "pickle"]
)
def test_a_damaged_file_is_read_or_refused(tmp_path, whole):
    assert_read_or_refused(whole, tmp_path / "damaged")
