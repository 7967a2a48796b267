"""Weights in vidjax's own layout come back to the bit; what is damaged or of another network is refused."""

import dataclasses
import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests import random_variables
from tests.refusals import refused
from vidjax import models, pretrained
from vidjax.errors import ConfigError, DataError
from vidjax.pretrained import store
from vidjax.pretrained.catalog import CATALOG
from vidjax.pretrained.info import ExpectedInput, Info

SEEN = ExpectedInput(2, 25.0, 40, 32, (1.0, 2.0, 3.0), (4.0, 5.0, 8.0), "logits")
INFO = Info("mine", "slow_r18_small", "here", "MIT", SEEN, class_names=("a", "b/c", "d"), options={"width": 4})
TRACES = []


def leave_a_trace(*arguments, **options):
    TRACES.append(arguments)
    return models.create(INFO.model, 3, width=4)


@pytest.fixture(scope="module")
def variables():
    module = models.create(INFO.model, 3, width=4)
    return pretrained.flat(random_variables.of(module, rgb=np.zeros((1, 2, 32, 32, 3), np.float32)))


def test_arrays_in_any_order_come_back_as_they_were(tmp_path):
    """The library writes the memory of a transposed view, and reads it in another order."""
    kernel = np.arange(24.0).reshape(2, 3, 4)
    given = {"a": kernel.T, "b": kernel[:, ::2], "c": np.asfortranarray(kernel), "d": np.float32(3), "e": kernel[:0]}
    path = tmp_path / "weights.safetensors"
    store.write(path, given, {"license": "MIT"})
    found = store.read(path)
    assert found.metadata["license"] == "MIT" and found.arrays.keys() == given.keys()
    for name, array in given.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    assert store.content_hash(found.arrays) == store.content_hash(given) == found.metadata["sha256"]


def test_the_hash_is_of_names_shapes_types_and_numbers():
    array = np.arange(6, dtype=np.float32)
    others = [{"b": array}, {"a": array.reshape(2, 3)}, {"a": array.astype(np.float64)}, {"a": array + 1}, {}]
    assert len({store.content_hash(content) for content in [{"a": array}, *others]}) == 6


def test_a_killed_writer_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    store.write(path, {"a": np.ones(2)}, {})
    monkeypatch.setattr("safetensors.numpy.save_file", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.write(path, {"a": np.zeros(2)}, {})
    assert store.read(path).arrays["a"].tolist() == [1, 1] and list(tmp_path.iterdir()) == [path]


def test_a_changed_number_and_other_layouts_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    store.write(path, {"a": np.ones(2)}, {})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with refused(DataError, path):
        store.read(path)
    save_file({"a": np.ones(2)}, path)
    with refused(DataError, path):
        store.read(path)


def test_a_file_is_loaded_with_what_it_says(tmp_path, variables):
    path = tmp_path / "weights.safetensors"
    store.write(path, variables, INFO.metadata())
    module, loaded, info = pretrained.load(str(path))
    assert info == dataclasses.replace(INFO, name=str(path)) and module.width == 4 and module.num_classes == 3
    assert info.preprocessing == SEEN and SEEN.value_range == (-0.4, 63.5)
    for name, array in pretrained.flat(loaded).items():
        np.testing.assert_array_equal(array, variables[name])


def test_a_file_that_does_not_fit_what_it_says_is_refused(tmp_path, variables):
    path = tmp_path / "weights.safetensors"
    name = "params/classes/bias"
    others = [
        ({n: a for n, a in variables.items() if n != name}, {}, f"'{name}'"),
        ({**variables, name: np.zeros(4, np.float32)}, {}, f"'{name}'"),
        ({**variables, "params/more": np.zeros(4)}, {}, "'params/more'"),
        (variables, {"model": "slow_r18"}, "slow_r18"),
        (variables, {"options": json.dumps({"widht": 4})}, "widht"),
        (variables, {"options": "{"}, str(path)),
        # Code, which no file may name.
        (variables, {"options": json.dumps({"factory": "tests.pretrained.test_store:leave_a_trace"})}, "factory"),
        (variables, {"model": "tests.pretrained.test_store:leave_a_trace"}, "leave_a_trace"),
        (variables, {"preprocessing": "{}"}, "'mean'"),
    ]
    for arrays, changed, token in others:
        store.write(path, arrays, {**INFO.metadata(), **changed})
        with refused(DataError, path, token):
            pretrained.load(str(path))
    assert not TRACES


def test_converted_weights_are_found_by_name_before_the_package(monkeypatch, tmp_path):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path))
    info = dataclasses.replace(INFO, name="i3d-kinetics400", download=CATALOG["i3d-kinetics400"].download)
    monkeypatch.setattr(pretrained, "CATALOG", {info.name: info})
    path = store.path_of(info.name)
    assert path == tmp_path / "weights" / "i3d-kinetics400.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    with refused(DataError, path):
        pretrained.load(info.name)


def test_what_is_not_on_this_machine_says_how_to_get_it():
    with refused(ConfigError, "vgg19-imagenet", "`python -m vidjax weights fetch vgg19-imagenet`", "575"):
        pretrained.find(CATALOG["vgg19-imagenet"])
