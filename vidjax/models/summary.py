"""Exact counts of parameters and multiply-accumulates, for any model, per layer and in total."""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util


@dataclasses.dataclass(frozen=True)
class Layer:
    """One module that has parameters or multiplies.

    Attributes:
      path: e.g. "features/conv1".
      output_shape: of the last operation in it.
      parameters: trainable numbers that it holds itself (not those of modules inside it).
      macs: multiply-accumulates of its convolutions and matrix products.
    """

    path: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int


@dataclasses.dataclass(frozen=True)
class Summary:
    """Counts of a model for one input shape.

    Attributes:
      layers: in order of execution.
      parameters: trainable numbers in all.
      macs: multiply-accumulates in all (a FLOP count is twice this).
    """

    layers: tuple[Layer, ...]
    parameters: int
    macs: int


def summary(module: nn.Module, **shapes: tuple[int, ...]) -> Summary:
    """Counts parameters and multiply-accumulates of a forward pass, without computing it.

    Counted are convolutions (output elements x kernel size x input channels per group) and matrix
    products; additions, normalisations, activations and pooling are not, as is the custom in the
    papers. Padding counts like any other input.

    Args:
      module: a model.
      **shapes: input shape by modality name, batch dimension included, e.g. rgb=(1, 10, 170, 170, 3).

    Returns:
      The counts, for that batch size.

    Example:
      >>> from vidjax.models import create
      >>> summary(create("single_frame", 101), rgb=(1, 1, 170, 170, 3)).parameters
      72326629
    """
    inputs = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), **x), inputs)
    jaxpr = jax.make_jaxpr(lambda v, x: module.apply(v, **x))(variables, inputs)
    parameters: dict[str, int] = {}
    for path, leaf in traverse_util.flatten_dict(variables.get("params", {})).items():
        owner = "/".join(path[:-1])
        parameters[owner] = parameters.get(owner, 0) + math.prod(leaf.shape)
    macs: dict[str, int] = {}
    outputs: dict[str, tuple[int, ...]] = {}
    _walk(jaxpr.jaxpr, "", 1, macs, outputs)
    # Layers in order of execution; one that is not executed for these inputs still holds parameters.
    names = [name for name in outputs if macs.get(name) or parameters.get(name)]
    names += [name for name in parameters if name not in outputs]
    layers = tuple(Layer(name, outputs.get(name, ()), parameters.get(name, 0), macs.get(name, 0)) for name in names)
    return Summary(layers, sum(parameters.values()), sum(macs.values()))


def _module_path(scopes: str) -> str:
    """Turns JAX's scopes ("Net/Net._helper/features/conv1") into the path of the Flax module."""
    return "/".join(part for part in scopes.split("/")[1:] if "." not in part)


def _walk(jaxpr: Any, scope: str, repeats: int, macs: dict[str, int], outputs: dict[str, tuple[int, ...]]) -> None:
    """Adds what the equations of `jaxpr` multiply, `repeats` times over, to `macs` by module path."""
    for equation in jaxpr.eqns:
        inner_scope = "/".join(part for part in (scope, str(equation.source_info.name_stack)) if part)
        path = _module_path(inner_scope)
        outputs[path] = tuple(equation.outvars[0].aval.shape)
        name = equation.primitive.name
        if name == "conv_general_dilated":
            macs[path] = macs.get(path, 0) + repeats * _convolution_macs(equation)
        elif name == "dot_general":
            macs[path] = macs.get(path, 0) + repeats * _product_macs(equation)
        elif name == "cond":
            _walk_largest_branch(equation, inner_scope, repeats, macs, outputs)
        else:
            if name == "while":
                raise ValueError(f"{path or 'the model'}: a while loop has no fixed number of multiply-accumulates")
            times = repeats * equation.params["length"] if name == "scan" else repeats
            for inner in _inner_jaxprs(equation):
                _walk(inner, inner_scope, times, macs, outputs)


def _walk_largest_branch(
    equation: Any, scope: str, repeats: int, macs: dict[str, int], outputs: dict[str, tuple[int, ...]]
) -> None:
    """Counts the branch of a conditional that multiplies most."""
    branches: list[dict[str, int]] = []
    for branch in equation.params["branches"]:
        branches.append({})
        _walk(branch.jaxpr, scope, repeats, branches[-1], outputs)
    for path, count in max(branches, key=lambda counts: sum(counts.values())).items():
        macs[path] = macs.get(path, 0) + count


def _inner_jaxprs(equation: Any) -> list[Any]:
    """The bodies of calls (jit, custom derivatives, scan, checkpoint), each once."""
    found = []
    for value in equation.params.values():
        body = getattr(value, "jaxpr", value)  # a ClosedJaxpr wraps a Jaxpr
        if hasattr(body, "eqns"):
            found.append(body)
    return found


def _convolution_macs(equation: Any) -> int:
    """Output elements x (kernel elements per output channel)."""
    kernel = equation.invars[1].aval.shape
    output_channels = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    return math.prod(equation.outvars[0].aval.shape) * (math.prod(kernel) // output_channels)


def _product_macs(equation: Any) -> int:
    """Output elements x length of the contracted dimensions."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
