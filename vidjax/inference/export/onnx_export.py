"""A network as an ONNX file, which ONNX Runtime, OpenVINO, TensorRT and others read.

The converter is our own (`jaxpr_to_onnx`), from the traced function: of the packages that promise it, none converted
the networks of vidjax.
"""

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from vidjax.errors import ConfigError, ExportError
from vidjax.inference.export.card import Card
from vidjax.inference.export.jaxpr_to_onnx.conversion import convert
from vidjax.inference.export.jaxpr_to_onnx.graph import Graph, Node
from vidjax.inference.export.program import Program, tracing

# The first one in which all reductions take their axes in the same way. ONNX 1.13 (December 2022) introduced it, and
# what reads ONNX today reads it: the newer, the fewer readers.
OPSET = 18
_IR_VERSION = 8  # of ONNX 1.13
_MOST_BYTES = 2 << 30  # of a protocol buffer
_METADATA_KEY = "vidjax"


def check_packages() -> None:
    """Refuses to go on without the packages that write and check ONNX.

    Raises:
      ConfigError: saying what to install.
    """
    missing = [package for package in ("onnx", "onnxruntime") if importlib.util.find_spec(package) is None]
    if missing:
        raise ConfigError(f"ONNX needs packages that are not installed: pip install {' '.join(missing)}")


def serialize(program: Program, card: Card) -> bytes:
    """Traces a program and converts it; its weights become constants of the graph.

    Args:
      program: from which `onnx` makes a file.
      card: its metadata.

    Raises:
      ExportError: naming what cannot be converted.
    """
    (batch,) = export.symbolic_shape("batch")
    specs = program.specs(batch)
    with tracing():
        # As arguments, not constants of the function, so that no weight is computed with before it is known here.
        closed, result = jax.make_jaxpr(program.function, return_shape=True)(program.variables, specs)
        graph = Graph(batch, next(iter(specs)))
        weights = [np.asarray(leaf) for leaf in jax.tree.leaves(program.variables)]
        (output,) = convert(graph, closed, [*weights, *specs])
    nodes, constants = graph.kept([output])
    size = sum(array.nbytes for array in constants.values())
    if size > _MOST_BYTES:
        raise ExportError(f"ONNX: the weights have {size / 1e9:.1f} GB, and a file holds 2.1 GB; export to .stablehlo")
    return _model(nodes, constants, specs, output, result, card)


def load(path: Path) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """The function in a file, run by ONNX Runtime on the CPU: of arrays by name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes have no other common base
        raise ExportError(f"ONNX Runtime cannot run the network: {str(error).partition(chr(10))[0]}") from error

    def function(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        (output,) = session.run(None, dict(inputs))
        return np.asarray(output)

    return function


def snippet(path: Path, inputs: Mapping[str, Any]) -> str:
    """Lines of Python that run the file with ONNX Runtime alone."""
    arrays = ", ".join(f'"{name}": {name}' for name in sorted(inputs))
    return "\n".join(
        [
            "import json, onnxruntime",
            f'session = onnxruntime.InferenceSession("{path.name}")',
            f'card = json.loads(session.get_modelmeta().custom_metadata_map["{_METADATA_KEY}"])',
            f"(output,) = session.run(None, {{{arrays}}})",
            'classes = card["classes"]',
        ]
    )


def _model(
    nodes: list[Node],
    constants: Mapping[str, np.ndarray],
    inputs: Mapping[str, jax.ShapeDtypeStruct],
    output: str,
    result: jax.ShapeDtypeStruct,
    card: Card,
) -> bytes:
    import onnx

    def number(dtype: Any) -> int:
        return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def described(name: str, spec: Any) -> onnx.ValueInfoProto:
        shape = ["batch" if export.is_symbolic_dim(size) else size for size in spec.shape]
        return onnx.helper.make_tensor_value_info(name, number(spec.dtype), shape)

    protobufs = []
    for node in nodes:
        attributes: dict[str, Any] = {
            name: number(value) if isinstance(value, np.dtype) else value for name, value in node.attributes.items()
        }
        protobufs.append(onnx.helper.make_node(node.op, node.inputs, node.outputs, **attributes))
    protobufs.append(onnx.helper.make_node("Identity", [output], [card.outputs[0].name]))
    graph = onnx.helper.make_graph(
        protobufs,
        card.model,
        [described(name, spec) for name, spec in inputs.items()],
        [described(card.outputs[0].name, result)],
        [onnx.numpy_helper.from_array(np.asarray(array, order="C"), name) for name, array in constants.items()],
    )
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="vidjax",
        producer_version=card.commit or "",
    )
    onnx.helper.set_model_props(model, {_METADATA_KEY: json.dumps(card.to_json())})
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = " ".join(str(error).split())
        raise ExportError(f"ONNX does not allow what the network computes: {reason}") from error
    content: bytes = model.SerializeToString()
    return content
