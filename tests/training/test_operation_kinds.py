import flax.linen as nn
import pytest

from vidjax.training import operation_kinds
from vidjax.training.operation_kinds import Kind

TEXT = """HloModule jit_train_step, is_scheduled=true

%fused_computation (param_0: f32[4]) -> f32[4] {
  %param_0 = f32[4]{0} parameter(0), metadata={op_name="jit(train_step)/optimizer/sub"}
  ROOT %tanh.1 = f32[4]{0} tanh(%param_0), metadata={op_name="jit(train_step)/jvp(Net)/block/tanh"}
}

%fused_computation.1 (param_0.1: f32[4]) -> f32[4] {
  ROOT %convolution.1 = f32[4]{0} convolution(%param_0.1, %param_0.1), window={size=1}
}

%body.1 (arg: (s32[], f32[4])) -> (s32[], f32[4]) {
  ROOT %tuple.1 = (s32[], f32[4]{0}) tuple(%a, %b)
}

ENTRY %main.1 (x: f32[4]) -> f32[4] {
  %fusion = f32[4]{0} fusion(%x), kind=kLoop, calls=%fused_computation
  %ynn_fusion.2 = f32[4]{0} fusion(%x), kind=kCustom, calls=%fused_computation.1
  %while.3 = (s32[], f32[4]{0}) while(%t), body=%body.1, metadata={op_name="jit(train_step)/jvp(Net)/block/conv/while"}
  %all-reduce-start.4 = f32[4]{0} all-reduce-start(%x), metadata={op_name="jit(train_step)/psum"}
  %copy.5 = f32[4]{0} copy(%x)
  %conv.6 = f32[4]{0} add(%x, %x), metadata={op_name="jit(s)/transpose(jvp(Net))/block/vmap(conv)/jvp()/dot_general"}
  ROOT %dot.7 = f32[4]{0} dot(%x, %x), metadata={op_name="jit(s)/jvp(Net)/block/Block._f/dot_general;jit(s)/loss/x"}
}
"""
MODULES = {("block",): nn.Module, ("block", "conv"): nn.Conv}


@pytest.mark.parametrize(
    "operation, kind",
    {
        "fusion": Kind(operation_kinds.OTHER, "block", "forward", False),
        "ynn_fusion.2": Kind("convolutions", "", "", False),
        "while.3": Kind("convolutions", "block/conv", "forward", True),
        "all-reduce-start.4": Kind("communication between devices", "", "", False),
        "copy.5": Kind(operation_kinds.UNNAMED, "", "", False),
        "conv.6": Kind("convolutions", "block/conv", "backward", False),
        "dot.7": Kind("dense layers", "block", "forward", False),
    }.items(),
)
def test_operations_are_told_by_module_scope_or_form(operation, kind):
    assert operation_kinds.name_of(TEXT) == "jit_train_step"
    assert operation_kinds.kinds_of(TEXT, MODULES)[operation] == kind
