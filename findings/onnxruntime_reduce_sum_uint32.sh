#!/bin/bash
# A valid ONNX model that sums unsigned 32-bit integers is refused by onnxruntime, which runs the signed one.
#
# onnxruntime 1.32.0 and onnx 1.23.2, CPython 3.11, x86-64, CPU. Seen: ReduceSum of uint32, which the operator's
# specification lists among its types, passes onnx.checker with full_check and runs in onnx's own reference evaluator;
# InferenceSession raises NotImplemented, "Could not find an implementation for ReduceSum". int32 works. jax.numpy's sum
# of uint8 pixels is a sum of uint32, so a faithful export of a mean over raw pixels meets this.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0
cat >"$folder/sums.py" <<'END'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
outcomes = {}
for name in ("int32", "uint32"):
    kind = getattr(TensorProto, name.upper())
    node = helper.make_node("ReduceSum", ["x", "axes"], ["y"], keepdims=0)
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    shapes = helper.make_tensor_value_info("x", kind, [2, 3]), helper.make_tensor_value_info("y", kind, [2])
    graph = helper.make_graph([node], "sum", [shapes[0]], [shapes[1]], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    x = np.arange(6, dtype=name).reshape(2, 3)
    assert ReferenceEvaluator(model).run(None, {"x": x})[0].tolist() == [3, 12]
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        outcomes[name] = str(session.run(None, {"x": x})[0].tolist())
    except Exception as error:
        outcomes[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    print(f"{name}: {outcomes[name]}")
assert outcomes["int32"] == "[3, 12]"
assert outcomes["uint32"].startswith("NotImplemented"), outcomes
END
"$folder/venv/bin/python" "$folder/sums.py"
