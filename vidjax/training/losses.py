"""Losses: functions of a model's `Output` and the labels, one value per example."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int

from vidjax.errors import OptionError
from vidjax.layers.shapes import Array
from vidjax.models.output import Output
from vidjax.options.declaring import Option
from vidjax.preprocessing.mixing import MixedLabels
from vidjax.preprocessing.pipeline import Labels

AVERAGED = ("loss", "logits", "growing")


def cross_entropy(
    output: Output,
    label: Int[Array, " batch"],
    *,
    label_smoothing: Annotated[
        float, Option("label smoothing: fraction of the target spread over all classes", at_least=0, below=1)
    ] = 0.0,
    average: Annotated[
        str,
        Option("what to average over positions in time and space; growing weights later ones more", choices=AVERAGED),
    ] = "loss",
    class_weights: Annotated[
        str | None,
        Option("balanced: weight clips inversely to the number of training videos of the class", choices=("balanced",)),
    ] = None,
    class_counts: Sequence[int] | None = None,
) -> Float[Array, " batch"]:
    """Softmax cross-entropy.

    With `class_weights`, an example of class c counts N / (K n_c) times, where n_c of N training videos are of class c:
    all classes count alike, and the mean weight is 1.

    Args:
      output: logits float [B, N, K].
      label: int [B].
      label_smoothing: e; the target is 1 - e + e / K for the label and e / K elsewhere
        (Szegedy et al. 2016, section 7).
      average: what to average over the N positions: "loss", so that every position is trained on the label;
        "growing": the same, but position n of N counts n / N as much as the last (Ng et al. 2015, section 4.2: a later
        frame has seen more); or "logits".
      class_weights: "balanced"; None: all examples count alike.
      class_counts: int [K], training videos of each class; None: not known, and all examples count alike.

    Returns:
      float [B].

    Raises:
      ValueError: for an unknown `average`.
    """
    if average not in AVERAGED:
        raise ValueError(f"average={average!r} is not one of {', '.join(AVERAGED)}")
    logits = output.logits.astype(jnp.promote_types(output.logits.dtype, jnp.float32))
    if average == "logits":
        logits = logits.mean(axis=1, keepdims=True)
    classes = logits.shape[-1]
    target = optax.smooth_labels(jax.nn.one_hot(label, classes, dtype=logits.dtype), label_smoothing)
    losses = optax.softmax_cross_entropy(logits, target[:, None, :])
    if average == "growing":
        losses = jnp.average(losses, axis=1, weights=jnp.arange(1, losses.shape[1] + 1))
    else:
        losses = losses.mean(axis=1)
    if class_weights is None or class_counts is None:
        return losses
    counts = np.asarray(class_counts, np.float64)
    weights = counts.sum() / (classes * np.maximum(counts, 1))  # a class without videos has no examples, either
    return losses * jnp.asarray(weights, losses.dtype)[label]


def margin(
    output: Output,
    label: Int[Array, " batch"],
    *,
    present: float = 0.9,
    absent: float = 0.1,
    down_weight: float = 0.5,
    reconstruction: Annotated[
        float, Option("weight of the reconstruction error of the label's capsule", at_least=0)
    ] = 0.0,
) -> Float[Array, " batch"]:
    """The margin loss of capsule lengths, with an optional reconstruction error (Sabour et al. 2017, 3 and 4.1).

    max(0, present - |v|)^2 for the label and down_weight * max(0, |v| - absent)^2 for every other class, summed over
    classes and averaged over the N positions.

    Args:
      output: lengths float [B, N, K] as logits; for a reconstruction also `aux`: "reconstruction" float [B, N, K, P],
        the image that each class reconstructs, and "target" float [B, N, P].
      label: int [B].
      present, absent: m+ and m-.
      down_weight: lambda.
      reconstruction: weight of the squared error, summed over the P pixels of the label's reconstruction; 0.0005 in the
        paper.

    Returns:
      float [B].

    Raises:
      OptionError: for a reconstruction weight with a model that has no decoder.
    """
    lengths = output.logits.astype(jnp.promote_types(output.logits.dtype, jnp.float32))
    is_label = jax.nn.one_hot(label, lengths.shape[-1], dtype=lengths.dtype)[:, None]
    too_short, too_long = nn.relu(present - lengths), nn.relu(lengths - absent)
    losses = is_label * jnp.square(too_short) + down_weight * (1 - is_label) * jnp.square(too_long)
    result = losses.sum(-1).mean(axis=1)
    if reconstruction:
        if "reconstruction" not in output.aux:
            raise OptionError(
                f"{{reconstruction}}={reconstruction:g}: the model has no decoder; set it to 0, or use capsnet with"
                " decoder=True",
                ["reconstruction"],
            )
        reconstructed = jnp.take_along_axis(output.aux["reconstruction"], label[:, None, None, None], axis=2)[:, :, 0]
        errors = jnp.square(reconstructed.astype(lengths.dtype) - output.aux["target"].astype(lengths.dtype))
        result += reconstruction * errors.sum(-1).mean(axis=1)
    return result


def spread(
    output: Output,
    label: Int[Array, " batch"],
    *,
    step: Int[Array, ""],
    margin_start: Annotated[
        float, Option("initial margin between the label's activation and every other", at_least=0)
    ] = 0.2,
    margin_end: Annotated[float, Option("final margin", at_least=0)] = 0.9,
    margin_steps: Annotated[
        int | None, Option("steps over which the margin grows: set one of the three units", at_least=0)
    ] = None,
) -> Float[Array, " batch"]:
    """The spread loss of activations: max(0, m - (a_label - a_other))^2, summed over the other classes.

    Hinton et al. 2018, equation 3. Averaged over the N positions.

    Args:
      output: activations float [B, N, K] as logits.
      label: int [B].
      step: training steps before this one.
      margin_start, margin_end: m, which grows linearly from one to the other.
      margin_steps: duration of that growth.

    Returns:
      float [B].

    Raises:
      OptionError: for different margins without `margin_steps`, or margin_start above margin_end.
    """
    if margin_start > margin_end:
        raise OptionError(
            f"{{margin_start}}={margin_start:g} must not exceed {{margin_end}}={margin_end:g}",
            ["margin_start", "margin_end"],
        )
    if margin_steps is None and margin_start != margin_end:
        raise OptionError(
            f"spread: margin_start={margin_start:g} and margin_end={margin_end:g} differ, so set {{margin_steps}},"
            " margin_epochs or margin_fraction",
            ["margin_steps"],
        )
    activations = output.logits.astype(jnp.promote_types(output.logits.dtype, jnp.float32))
    m = margin_start + (margin_end - margin_start) * jnp.clip(step / max(1, margin_steps or 1), 0, 1)
    is_label = jax.nn.one_hot(label, activations.shape[-1], dtype=activations.dtype)[:, None]
    of_label = (activations * is_label).sum(-1, keepdims=True)
    return ((1 - is_label) * jnp.square(nn.relu(m - (of_label - activations)))).sum(-1).mean(axis=1)


def check(loss: Callable[..., jax.Array]) -> None:
    """Checks that the options of a loss do not contradict each other, without running the loss.

    Raises:
      OptionError: naming the options.
    """

    def trace(step: jax.Array) -> jax.Array:
        aux = {"reconstruction": jnp.zeros((1, 1, 2, 1)), "target": jnp.zeros((1, 1, 1))}
        return bind_step(loss, step)(Output(jnp.zeros((1, 1, 2)), aux), jnp.zeros(1, jnp.int32))

    jax.eval_shape(trace, jax.ShapeDtypeStruct((), jnp.int32))


def bind_step(loss: Callable[..., jax.Array], step: Int[Array, ""]) -> Callable[[Output, jax.Array], jax.Array]:
    """Binds the argument `step` of a loss that changes during training; returns any other loss unchanged."""
    return functools.partial(loss, step=step) if "step" in inspect.signature(loss).parameters else loss


def per_example(
    loss: Callable[[Output, jax.Array], jax.Array], output: Output, label: Labels
) -> Float[Array, " batch"]:
    """A loss against labels that may be mixed: then the weighted mean of the losses of both labels.

    For the cross-entropy, which is linear in the targets, this is the cross-entropy against the mixed targets.

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
    """The label that accuracies are computed with, int [B]: for a mixed example, the one with the larger weight."""
    return label.dominant if isinstance(label, MixedLabels) else label


LOSSES: dict[str, Callable[..., jax.Array]] = {"cross_entropy": cross_entropy, "margin": margin, "spread": spread}

# Losses that use `Output.aux` -> the entries they read, as a function of their options.
_AUX_READ: dict[Callable[..., jax.Array], Callable[..., frozenset[str]]] = {
    margin: lambda reconstruction=0.0, **_: frozenset(("reconstruction", "target") if reconstruction else ())
}


def aux_read(loss: Callable[..., jax.Array]) -> frozenset[str]:
    """The entries of `Output.aux` that a loss reads, i.e. that a model is trained to produce.

    Args:
      loss: one of `LOSSES`, or a `functools.partial` of it with its options.
    """
    function, options = (loss.func, loss.keywords) if isinstance(loss, functools.partial) else (loss, {})
    return _AUX_READ[function](**options) if function in _AUX_READ else frozenset()
