"""What each operation of a compiled training step is for: its part of the step, its layer, forward or backward.

XLA keeps, for each operation, the scopes that it was traced in: those of `vidjax.training.step` (`SCOPES`), the names
of Flax's modules and the transformations of JAX, e.g. "jit(train_step)/transpose(jvp(Net))/block1/conv/dot_general".
"""

import contextlib
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn

from vidjax.layers.attention import AttentionPooling
from vidjax.layers.capsules import DenseCaps
from vidjax.layers.dropout import Dropout
from vidjax.layers.matrix_capsules import ClassCaps, ConvCaps
from vidjax.layers.normalization import BatchNorm, Normalization
from vidjax.layers.recurrent import LSTM
from vidjax.models.summary import innermost_module

# Parts of the computation outside the network: scope -> part.
SCOPES = {
    "preprocessing": "preprocessing",
    "loss": "loss",
    "optimizer": "optimizer",
    "norms": "norms for the log",
    "average": "average of the weights",
}
OTHER = "other operations of the network"
UNNAMED = "copies and operations without a name"
COMMUNICATION = "communication between devices"
_MODULES: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("convolutions", (nn.Conv, nn.ConvTranspose, nn.ConvLocal)),
    (
        "normalization",
        (nn.BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.InstanceNorm, BatchNorm, Normalization),
    ),
    ("dense layers", (nn.Dense, nn.DenseGeneral, nn.Einsum)),
    ("recurrent layers", (LSTM, nn.RNN, nn.RNNCellBase)),
    ("attention", (nn.MultiHeadDotProductAttention, AttentionPooling)),
    ("capsules", (DenseCaps, ConvCaps, ClassCaps)),
    ("dropout", (Dropout, nn.Dropout)),
)
_FUNCTIONS = {  # scopes of functions, where no module tells more
    "max_pool": "pooling",
    "avg_pool": "pooling",
    "local_response_normalization": "normalization",
}
_PRIMITIVES = {  # where no scope does
    "conv_general_dilated": "convolutions",
    "dot_general": "dense layers",
    "reduce_window": "pooling",
    "select_and_scatter_add": "pooling",
}
_OPCODES = {"convolution": "convolutions", "dot": "dense layers"}  # where there are no scopes
# In the order of tables.
PARTS = (
    "preprocessing",
    *dict.fromkeys([part for part, _ in _MODULES[:2]] + ["pooling"] + [part for part, _ in _MODULES[2:]]),
    OTHER,
    "loss",
    "optimizer",
    "average of the weights",
    "norms for the log",
    COMMUNICATION,
    UNNAMED,
)
_COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute")
# These wait for the operations inside them.
_CONTROL = ("while", "call", "conditional", "async-start", "async-done", "async-update")
_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*)$")
_OPCODE = re.compile(r"\s([a-z][a-z\-]*)\(")
_NAME = re.compile(r'op_name="((?:[^"\\]|\\.)*)"')
_CALLED = re.compile(r"calls=%?([\w.\-]+)")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")


class Kind(NamedTuple):
    """What an operation is for.

    Attributes:
      part: of `PARTS`.
      layer: path of the innermost module, e.g. "block1/conv"; "" outside modules.
      pass_: "forward" or "backward" through the network and the loss; "" elsewhere.
      is_control: whether it only runs the operations inside it (a loop, say).
    """

    part: str
    layer: str
    pass_: str
    is_control: bool


Modules = Mapping[tuple[str, ...], type]


@contextlib.contextmanager
def modules_called() -> Iterator[dict[tuple[str, ...], type]]:
    """Fills what it yields with path -> class of the Flax modules that are called within it."""
    found: dict[tuple[str, ...], type] = {}

    def note(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        path = tuple("/".join(context.module.path).split("/")) if context.module.path else ()
        for depth in range(1, len(path)):
            found.setdefault(path[:depth], nn.Module)
        if path:
            found[path] = type(context.module)
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        yield found


def name_of(program: str) -> str:
    """The name of a compiled program, from its text in HLO."""
    return program.split(maxsplit=2)[1].rstrip(",")


def kinds_of(program: str, modules: Modules) -> dict[str, Kind]:
    """What each operation of a compiled program is for.

    Args:
      program: the text of the compiled program, in HLO. One from the compilation cache has the names that it was first
        compiled with.
      modules: path -> class, of the network.

    Returns:
      Name of each operation, as in profiles, -> its kind.
    """
    names = {name for path in modules for name in path}
    of_scopes = functools.cache(lambda scopes: _of_scopes(scopes, modules, names))
    instructions: dict[str, tuple[str, str, str]] = {}  # -> opcode, scopes, computation that it calls
    named_inside: dict[str, str] = {}  # computation -> scopes of its last instruction that has some
    computed_inside: dict[str, str] = {}  # computation -> part of an instruction in it that multiplies
    computation = ""
    for line in program.splitlines():
        if start := _COMPUTATION.match(line):
            computation = start[1]
        elif (instruction := _INSTRUCTION.match(line)) and (opcode := _OPCODE.search(instruction[2])):
            named, calls = _NAME.search(line), _CALLED.search(line)
            if named and opcode[1] != "parameter":
                named_inside[computation] = named[1]
            instructions[instruction[1]] = (opcode[1], named[1] if named else "", calls[1] if calls else "")
            if opcode[1] in _OPCODES:
                computed_inside[computation] = _OPCODES[opcode[1]]
    kinds = {}
    for name, (code, scopes, called) in instructions.items():
        part, layer, pass_ = of_scopes(scopes or named_inside.get(called, ""))
        if code.startswith(_COLLECTIVES):
            part = COMMUNICATION
        elif part == UNNAMED:  # XLA's own form of a convolution, say
            part = _OPCODES.get(code) or computed_inside.get(called, UNNAMED)
        kinds[name] = Kind(part, layer, pass_, code in _CONTROL)
    return kinds


def _of_scopes(scopes: str, modules: Modules, names: set[str]) -> tuple[str, str, str]:
    """Part, layer and pass of an operation."""
    if not scopes:
        return UNNAMED, "", ""
    scopes = scopes.split(";")[0]
    parts = [_unwrap(part) for part in scopes.split("/")]
    pass_ = "backward" if "transpose(" in scopes else "forward" if "jvp(" in scopes else ""
    outside = next((SCOPES[part] for part in parts if part in SCOPES and part not in names), None)
    if outside is not None:
        return outside, "", pass_ if outside == "loss" else ""
    layer = innermost_module(parts, modules, names)
    path = tuple(layer.split("/"))
    for depth in range(1, len(path) + 1):  # the outermost: what is in an LSTM belongs to it
        for part, classes in _MODULES:
            if issubclass(modules.get(path[:depth], object), classes):
                return part, layer, pass_
    functions = (_FUNCTIONS[part] for part in parts if part in _FUNCTIONS)
    if not pass_:
        return UNNAMED, "", ""
    return next(functions, None) or _PRIMITIVES.get(parts[-1], OTHER), layer, pass_


def _unwrap(part: str) -> str:
    """A scope without the transformations around it: "conv" of "transpose(jvp(conv))"."""
    while wrapped := re.fullmatch(r"\w+\((.*)\)", part):
        part = wrapped[1]
    return part
