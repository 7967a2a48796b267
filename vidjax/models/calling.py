"""How a model is called: with those arguments, by name, that it takes."""

import inspect
from collections.abc import Collection, Mapping
from typing import Any

import flax.linen as nn
import jax

from vidjax.models.output import Output

_NON_INPUT_ARGUMENTS = ("self", "train", "example_ids")


def input_names(model: nn.Module) -> tuple[str, ...]:
    """The inputs that a model takes, e.g. ("rgb", "pose").

    These are its `inputs` where it has such a field or property, else the arguments of its `__call__` that have no
    default, but for `train`, `example_ids` and masks (`NAME_mask`).
    """
    own = getattr(model, "inputs", None)
    if own is not None:
        return tuple(own)
    return tuple(name for name in _required(model) if name not in _NON_INPUT_ARGUMENTS and not name.endswith("_mask"))


def required_masks(model: nn.Module) -> tuple[str, ...]:
    """The masks that a model requires, e.g. ("pose_mask",)."""
    return tuple(name for name in _required(model) if name.endswith("_mask"))


def _required(model: nn.Module) -> list[str]:
    parameters = inspect.signature(type(model).__call__).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def accepted_arguments(model: nn.Module, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the arguments that the `__call__` takes: not all take masks, example numbers and `train`."""
    parameters = inspect.signature(type(model).__call__).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(arguments)
    inputs = input_names(model)
    return {name: value for name, value in arguments.items() if name in parameters or name in inputs}


def apply(model: nn.Module, variables: Any, inputs: Mapping[str, Any], **options: Any) -> Any:
    """`model.apply` with the model's own arguments, by name, told apart from Flax's.

    Args:
      model: the model.
      variables: its parameters and other collections.
      inputs: by name, with their masks, `train`, and `example_ids` for a model that draws at random per example.
      **options: Flax's, e.g. `rngs`, and `mutable`, a list.

    Returns:
      `Output`, made of plain logits [B, K] or [B, N, K] where the model returns such; with `mutable` also what changed.
    """
    result: Any = model.apply(variables, **accepted_arguments(model, inputs), **options)
    if "mutable" in options:
        output, changed = result
        return as_output(output), changed
    return as_output(result)


def as_output(result: Any) -> Any:
    """Plain logits as an `Output`: [B, K] is one position; anything else as it is."""
    if not isinstance(result, jax.Array) or result.ndim not in (2, 3):
        return result
    return Output(result[:, None] if result.ndim == 2 else result)


def offers_drawings(model: nn.Module, trained: Collection[str]) -> bool:
    """Whether a model offers meaningful drawings of test examples.

    Such a model has a method `draw_examples(params, output, labels, class_names) -> list[Drawing]`, which takes its
    trained parameters, its `Output` for some examples, their labels and the names of the classes. In `drawn_from` it
    may name the entries of `Output.aux` that must have been trained for its drawings to mean anything.

    Args:
      model: any.
      trained: the entries of `Output.aux` that the loss has trained.
    """
    return hasattr(model, "draw_examples") and set(getattr(model, "drawn_from", ())) <= set(trained)
