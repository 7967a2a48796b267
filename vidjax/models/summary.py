"""Exact counts of parameters and multiply-accumulates, for any model, per layer and in total."""

import dataclasses
import math
import re
from collections.abc import Container, Iterable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from jax.extend.core import Literal

from vidjax.errors import ConfigError
from vidjax.layers.convolution import native_operations
from vidjax.models.output import Output

_AXES = ("B", "T", "H", "W", "C")  # of rgb


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
    products; additions, normalizations, activations and pooling are not, as is the custom in the
    papers. Padding counts like any other input; the zeros that a transposed convolution puts between its inputs do
    not, and neither does a convolution that only moves data (extracts patches).

    Args:
      module: a model.
      **shapes: shape by name, batch dimension included, e.g. rgb=(1, 10, 170, 170, 3); of masks (`NAME_mask`) too.

    Returns:
      The counts, for that batch size.

    Raises:
      ConfigError: if rgb has another number of axes than [B, T, H, W, C], or is too small.

    Example:
      >>> from vidjax.models import create
      >>> summary(create("single_frame", 101), rgb=(1, 1, 170, 170, 3)).parameters
      72326629
    """
    inputs = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    modules: set[tuple[str, ...]] = set()

    def note(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        path = _parts(context.module.path)
        modules.update(path[:depth] for depth in range(1, len(path) + 1))
        return call(*args, **kwargs)

    masks = {name for name in shapes if name.endswith("_mask")}
    inputs |= {name: jax.ShapeDtypeStruct(shapes[name], jnp.bool_) for name in masks}
    has_wrong_rank = "rgb" in shapes and len(shapes["rgb"]) != len(_AXES)
    try:
        with native_operations():
            with nn.intercept_methods(note):
                variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), **x), inputs)
            jaxpr, output = jax.make_jaxpr(lambda v, x: module.apply(v, **x), return_shape=True)(variables, inputs)
    except Exception as error:
        # Every layer reports shape errors differently.
        if has_wrong_rank:
            raise _rank_error(module, shapes["rgb"]) from error
        if isinstance(error, ZeroDivisionError):  # what initializes a layer divides by the size of its input
            given = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
            raise ConfigError(
                f"{type(module).__name__} cannot be applied to {given}: a layer shrinks it to size 0, or its"
                f" axes are not [{', '.join(_AXES)}]"
            ) from error
        raise
    if has_wrong_rank and isinstance(output, Output):  # a model of videos that did not notice
        raise _rank_error(module, shapes["rgb"])
    macs: dict[str, int] = {}
    outputs: dict[str, tuple[int, ...]] = {}
    _walk(jaxpr.jaxpr, "", 1, _Counts(modules, {name for path in modules for name in path}, macs, outputs))
    parameters: dict[str, int] = {}
    for path, leaf in traverse_util.flatten_dict(variables.get("params", {})).items():
        owner = _parts(path[:-1])
        # A module that only holds parameters (of an LSTM's gates, say) belongs to the one that multiplies by them.
        while owner in modules and "/".join(owner) not in outputs:
            owner = owner[:-1]
        name = "/".join(owner)
        parameters[name] = parameters.get(name, 0) + math.prod(leaf.shape)
    # Layers in order of execution; one that is not executed for these inputs still holds parameters.
    names = [name for name in outputs if macs.get(name) or parameters.get(name)]
    names += [name for name in parameters if name not in outputs]
    layers = tuple(Layer(name, outputs.get(name, ()), parameters.get(name, 0), macs.get(name, 0)) for name in names)
    return Summary(layers, sum(parameters.values()), sum(macs.values()))


def innermost_module(scopes: Sequence[str], modules: Container[tuple[str, ...]], names: Container[str]) -> str:
    """The innermost module in JAX's scopes, e.g. "features/conv1" of ["Net", "Net._helper", "features", "conv1"].

    Scopes also name methods, einsum's formulas, and the modules that a shared one (nn.RNN's cell) is called in.

    Args:
      scopes: without the transformations around them.
      modules: paths of all modules.
      names: of the modules.

    Returns:
      Its path; "" outside modules.
    """
    parts = [part for part in scopes if part in names]
    ends = ((start, end) for end in range(len(parts), 0, -1) for start in range(end))
    return next(("/".join(parts[s:e]) for s, e in ends if tuple(parts[s:e]) in modules), "")


def _rank_error(module: nn.Module, shape: tuple[int, ...]) -> ConfigError:
    return ConfigError(
        f"{type(module).__name__} cannot be applied to rgb {tuple(shape)}, which has {len(shape)} axes: give"
        f" {len(_AXES)}, [{', '.join(_AXES)}]"
    )


def _parts(path: Iterable[str]) -> tuple[str, ...]:
    """The path with names such as I3D's "Branch_0/Conv3d_0a_1x1" taken apart, as JAX's scopes are."""
    return tuple("/".join(path).split("/"))


class _Counts(NamedTuple):
    """Counts that a walk over a jaxpr fills in.

    Attributes:
      modules: paths of all modules.
      names: of the modules.
      macs, outputs: by module path.
    """

    modules: set[tuple[str, ...]]
    names: set[str]
    macs: dict[str, int]
    outputs: dict[str, tuple[int, ...]]

    def path_of(self, scopes: str) -> str:
        """The innermost module in JAX's scopes, e.g. "features/conv1" of "Net/Net._helper/features/vmap(conv1)"."""
        unwrapped = [re.sub(r"^\w+\((.*)\)$", r"\1", part) for part in scopes.split("/")]
        return innermost_module(unwrapped, self.modules, self.names)


def _walk(jaxpr: Any, scope: str, repeats: int, counts: _Counts) -> None:
    """Adds the multiply-accumulates of the equations of `jaxpr`, times `repeats`, by module path."""
    made_of_nothing: set[Any] = set()  # such as the kernel of a convolution that extracts patches
    for equation in jaxpr.eqns:
        if all(isinstance(value, Literal) or value in made_of_nothing for value in equation.invars):
            made_of_nothing.update(equation.outvars)
        inner_scope = "/".join(part for part in (scope, str(equation.source_info.name_stack)) if part)
        path = counts.path_of(inner_scope)
        if equation.outvars:  # a callback to the host has none
            counts.outputs[path] = tuple(equation.outvars[0].aval.shape)
        name = equation.primitive.name
        if name == "conv_general_dilated":
            if equation.invars[1] not in made_of_nothing:
                counts.macs[path] = counts.macs.get(path, 0) + repeats * _convolution_macs(equation)
        elif name == "dot_general":
            counts.macs[path] = counts.macs.get(path, 0) + repeats * _product_macs(equation)
        elif name == "cond":
            _walk_largest_branch(equation, inner_scope, repeats, counts)
        else:
            times = repeats * equation.params["length"] if name == "scan" else repeats
            # The number of iterations of a while loop is unknown; one without multiplications does not matter.
            counted = counts._replace(macs={}) if name == "while" else counts
            for inner in _inner_jaxprs(equation):
                _walk(inner, inner_scope, times, counted)
            if name == "while" and counted.macs:
                raise ValueError(f"{path or 'the model'}: a while loop has no fixed number of multiply-accumulates")


def _walk_largest_branch(equation: Any, scope: str, repeats: int, counts: _Counts) -> None:
    """Counts the branch of a conditional that multiplies most."""
    branches: list[dict[str, int]] = []
    for branch in equation.params["branches"]:
        branches.append({})
        _walk(branch.jaxpr, scope, repeats, counts._replace(macs=branches[-1]))
    for path, count in max(branches, key=lambda macs: sum(macs.values())).items():
        counts.macs[path] = counts.macs.get(path, 0) + count


def _inner_jaxprs(equation: Any) -> list[Any]:
    """The bodies of calls (jit, custom derivatives, scan, checkpoint), each once."""
    found = []
    for value in equation.params.values():
        body = getattr(value, "jaxpr", value)  # a ClosedJaxpr wraps a Jaxpr
        if hasattr(body, "eqns"):
            found.append(body)
    return found


def _convolution_macs(equation: Any) -> int:
    """Output elements x (kernel elements per output channel), less the share of zeros between dilated inputs."""
    kernel = equation.invars[1].aval.shape
    output_channels = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    products = math.prod(equation.outvars[0].aval.shape) * (math.prod(kernel) // output_channels)
    return products // math.prod(equation.params["lhs_dilation"])


def _product_macs(equation: Any) -> int:
    """Output elements x length of the contracted dimensions."""
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
