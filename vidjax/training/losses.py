"""Losses: functions of a model's `Output` and the labels, one number per example."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int

from vidjax.errors import OptionError
from vidjax.layers.shapes import Array
from vidjax.models.output import Output
from vidjax.options.declaring import Option
from vidjax.preprocessing.mixing import MixedLabels
from vidjax.preprocessing.pipeline import Labels

AVERAGED = ("loss", "logits")


def cross_entropy(
    output: Output,
    label: Int[Array, " batch"],
    *,
    label_smoothing: Annotated[
        float, Option("share of the target that is spread over all classes", at_least=0, below=1)
    ] = 0.0,
    average: Annotated[str, Option("what is averaged over positions in time and space", words=AVERAGED)] = "loss",
) -> Float[Array, " batch"]:
    """Softmax cross-entropy.

    Args:
      output: logits float [B, N, K].
      label: int [B].
      label_smoothing: e; the target is 1 - e + e / K for the label and e / K elsewhere
        (Szegedy et al. 2016, section 7).
      average: what is averaged over the N positions: "loss", so that each is held to the label, or "logits".

    Returns:
      float [B].

    Raises:
      ValueError: for another `average`.
    """
    if average not in AVERAGED:
        raise ValueError(f"average={average!r} is not one of {', '.join(AVERAGED)}")
    logits = output.logits.astype(jnp.promote_types(output.logits.dtype, jnp.float32))
    if average == "logits":
        logits = logits.mean(axis=1, keepdims=True)
    classes = logits.shape[-1]
    target = optax.smooth_labels(jax.nn.one_hot(label, classes, dtype=logits.dtype), label_smoothing)
    return optax.softmax_cross_entropy(logits, target[:, None, :]).mean(axis=1)


def margin(
    output: Output,
    label: Int[Array, " batch"],
    *,
    present: float = 0.9,
    absent: float = 0.1,
    down_weight: float = 0.5,
    reconstruction: Annotated[
        float, Option("weight of the squared error of the label's reconstruction", at_least=0)
    ] = 0.0,
) -> Float[Array, " batch"]:
    """The margin loss of capsule lengths, with the squared error of a reconstruction (Sabour et al. 2017, 3 and 4.1).

    max(0, present - |v|)^2 for the label, down_weight * max(0, |v| - absent)^2 for every other class, added up over
    classes and averaged over the N positions.

    Args:
      output: lengths float [B, N, K] as logits; for a reconstruction in `aux` "reconstruction" float [B, N, K, P], the
        picture that each class would draw, and "target" float [B, N, P].
      label: int [B].
      present, absent: m+ and m-.
      down_weight: lambda.
      reconstruction: weight of the squared error, added up over the P numbers of the label's picture; the paper's is
        0.0005.

    Returns:
      float [B].

    Raises:
      OptionError: for a reconstruction by a model that makes none.
    """
    lengths = output.logits.astype(jnp.promote_types(output.logits.dtype, jnp.float32))
    is_label = jax.nn.one_hot(label, lengths.shape[-1], dtype=lengths.dtype)[:, None]
    too_short, too_long = nn.relu(present - lengths), nn.relu(lengths - absent)
    losses = is_label * jnp.square(too_short) + down_weight * (1 - is_label) * jnp.square(too_long)
    result = losses.sum(-1).mean(axis=1)
    if reconstruction:
        if "reconstruction" not in output.aux:
            raise OptionError(
                f"{{reconstruction}}={reconstruction:g}: this model reconstructs nothing: set it to 0,"
                " or take a capsnet with its decoder",
                ["reconstruction"],
            )
        drawn = jnp.take_along_axis(output.aux["reconstruction"], label[:, None, None, None], axis=2)[:, :, 0]
        errors = jnp.square(drawn.astype(lengths.dtype) - output.aux["target"].astype(lengths.dtype))
        result += reconstruction * errors.sum(-1).mean(axis=1)
    return result


def spread(
    output: Output,
    label: Int[Array, " batch"],
    *,
    step: Int[Array, ""],
    margin_start: Annotated[
        float, Option("by how much the label's activation is to exceed others, at first", at_least=0)
    ] = 0.2,
    margin_end: Annotated[float, Option("in the end", at_least=0)] = 0.9,
    margin_steps: Annotated[int | None, Option("until the margin has grown: give one of the three", at_least=0)] = None,
) -> Float[Array, " batch"]:
    """The spread loss of activations: max(0, m - (a_label - a_other))^2, added up over the other classes.

    Hinton et al. 2018, equation 3. Averaged over the N positions.

    Args:
      output: activations float [B, N, K] as logits.
      label: int [B].
      step: training steps before this one.
      margin_start, margin_end: m, which grows linearly.
      margin_steps: until it has grown.

    Returns:
      float [B].

    Raises:
      OptionError: for two margins without `margin_steps`, or the larger one first.
    """
    if margin_start > margin_end:
        raise OptionError(
            f"{{margin_start}}={margin_start:g} is above {{margin_end}}={margin_end:g}: it grows",
            ["margin_start", "margin_end"],
        )
    if margin_steps is None and margin_start != margin_end:
        raise OptionError(
            f"spread: its margin grows from {margin_start:g} to {margin_end:g}; set {{margin_steps}},"
            " margin_epochs or margin_fraction, or both margins to the same",
            ["margin_steps"],
        )
    activations = output.logits.astype(jnp.promote_types(output.logits.dtype, jnp.float32))
    m = margin_start + (margin_end - margin_start) * jnp.clip(step / max(1, margin_steps or 1), 0, 1)
    is_label = jax.nn.one_hot(label, activations.shape[-1], dtype=activations.dtype)[:, None]
    of_label = (activations * is_label).sum(-1, keepdims=True)
    return ((1 - is_label) * jnp.square(nn.relu(m - (of_label - activations)))).sum(-1).mean(axis=1)


def check(loss: Callable[..., jax.Array]) -> None:
    """Refuses options of a loss that contradict each other; computes nothing.

    Raises:
      OptionError: naming them.
    """

    def of_nothing(step: jax.Array) -> jax.Array:
        drawn = {"reconstruction": jnp.zeros((1, 1, 2, 1)), "target": jnp.zeros((1, 1, 1))}
        return bind_step(loss, step)(Output(jnp.zeros((1, 1, 2)), drawn), jnp.zeros(1, jnp.int32))

    jax.eval_shape(of_nothing, jax.ShapeDtypeStruct((), jnp.int32))


def bind_step(loss: Callable[..., jax.Array], step: Int[Array, ""]) -> Callable[[Output, jax.Array], jax.Array]:
    """The loss as it is after so many steps, for one that changes with them; any other as it is."""
    return functools.partial(loss, step=step) if "step" in inspect.signature(loss).parameters else loss


def per_example(
    loss: Callable[[Output, jax.Array], jax.Array], output: Output, label: Labels
) -> Float[Array, " batch"]:
    """A loss against labels that may be mixed: then the mean of the losses of both labels, weighted by their shares.

    Of the cross-entropy this is the cross-entropy against the mixed targets, since it is linear in them.

    Args:
      loss: takes labels int [B].
      output: of the model.
      label: int [B], or `MixedLabels`.

    Returns:
      float [B].
    """
    if not isinstance(label, MixedLabels):
        return loss(output, label)
    return label.weight * loss(output, label.label) + (1 - label.weight) * loss(output, label.partner)


def dominant_label(label: Labels) -> Int[Array, " batch"]:
    """The label that an accuracy is counted by, int [B]: of a mixed example, the one with the larger share."""
    return label.dominant if isinstance(label, MixedLabels) else label


LOSSES: dict[str, Callable[..., jax.Array]] = {"cross_entropy": cross_entropy, "margin": margin, "spread": spread}

# What those losses that use `Output.aux` read of it, by their options.
_AUX_READ: dict[Callable[..., jax.Array], Callable[..., frozenset[str]]] = {
    margin: lambda reconstruction=0.0, **_: frozenset(("reconstruction", "target") if reconstruction else ())
}


def aux_read(loss: Callable[..., jax.Array]) -> frozenset[str]:
    """The entries of `Output.aux` that a loss reads, which a model is therefore trained to give.

    Args:
      loss: one of `LOSSES`, or a `functools.partial` of it with its options.
    """
    function, options = (loss.func, loss.keywords) if isinstance(loss, functools.partial) else (loss, {})
    return _AUX_READ[function](**options) if function in _AUX_READ else frozenset()
