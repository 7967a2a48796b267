"""What tests of exports share: functions as programs, and how far a file is from them."""

import jax
import numpy as np
import pytest

from tests import random_variables
from vidjax import models
from vidjax.inference.export import exported_file, onnx_export, stablehlo
from vidjax.inference.export.card import Array, Card
from vidjax.inference.export.program import Program

CARD = Card(
    network="none",
    model="Function",
    weights="none",
    step=None,
    classes=["one", "two"],
    inputs=[],
    outputs=[Array(name="output", shape=[], dtype="", values="")],
    clip={},
    test_clips="1 clip x 1 crop, the middle of the video",
    commit=None,
    versions={},
)


def of(function, *shapes, dtype=np.float32):
    """A function of arrays x, y, ...; the shapes are those of one example."""
    specs = {name: jax.ShapeDtypeStruct(shape, np.dtype(dtype)) for name, shape in zip("xyz", shapes)}
    return Program(lambda variables, inputs: function(*(inputs[name] for name in specs)), {}, specs)


def of_module(module, *shape):
    """The logits of a module, with variables that let values of all layers matter; flow has two channels."""
    names = [name for name in models.input_names(module) if name in ("rgb", "flow")] or ["rgb"]
    channels = [2 if names[1:] and name == "flow" else shape[-1] for name in names]
    shapes = {name: (*shape[:-1], c) for name, c in zip(names, channels, strict=True)}
    variables = random_variables.of(module, *(jax.ShapeDtypeStruct((1, *s), np.float32) for s in shapes.values()))

    def positive(path, leaf):
        return abs(leaf) + 0.5 if path[-1].key == "var" else leaf

    def function(variables, inputs):
        result = module.apply(variables, *(inputs[name] for name in names))
        return getattr(result, "logits", result)

    specs = {name: jax.ShapeDtypeStruct(shape, np.dtype(np.float32)) for name, shape in shapes.items()}
    return Program(function, jax.tree_util.tree_map_with_path(positive, variables), specs)


def onnx_difference(program, path):
    """Of ONNX Runtime's output from the program's, at batches of 3 and 1; skips the test where packages are missing."""
    return exported_file.largest_difference(program, _in_onnx_runtime(program, path))


def stablehlo_difference(program, path):
    """As `onnx_difference`, of the program that JAX reads."""
    pytest.importorskip("flatbuffers", reason="needs requirements-export.txt")
    path.write_bytes(stablehlo.serialize(program).content)
    return exported_file.largest_difference(program, stablehlo.load(path))


def mixing_difference(program, path):
    """As `onnx_difference`, of a program whose examples depend on each other."""
    function = _in_onnx_runtime(program, path)
    pairs = ((function(inputs), program.run(inputs)) for inputs in map(program.example, (3, 1)))
    return max(np.abs(found - expected).max() for found, expected in pairs)


def _in_onnx_runtime(program, path):
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason="needs requirements-export.txt")
    path.write_bytes(onnx_export.serialize(program, CARD))
    return onnx_export.load(path)
