"""Checks that need a network or the files of the data: shapes, inputs and views, and videos that cannot be read."""

import contextlib
import decimal
import math
from collections.abc import Iterator, Mapping
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from vidjax import models
from vidjax.config import building, data, declarations, recipe
from vidjax.config.run import Run
from vidjax.config.validation import check_flip
from vidjax.data import streams
from vidjax.data.cropping import check_position, check_stored_sizes
from vidjax.data.records import Source
from vidjax.errors import ConfigError, DataError, VideoError, options_of, printable
from vidjax.layers.convolution import native_operations
from vidjax.models.output import Output
from vidjax.training import losses


def check_shapes(config: ConfigDict) -> None:
    """Refuses clips that the model cannot be applied to, as far as they do not depend on the data.

    Raises:
      ConfigError: naming the model and the shape.
    """
    side = config.preprocessing.crop or config.data.crop
    if config.model.factory is None:  # a custom model may be made for a fixed number of classes
        model = building.model(config, 2)
        if models.input_names(model) == ("rgb",) and config.data.inputs is None:  # else the source says what they are
            _check_applies(config.model.name, model, (config.data.frames, side, side, 3))


def check_run(run: Run) -> None:
    """Refuses inputs and views that the network cannot be applied to, and what their records or videos do not allow.

    Raises:
      ConfigError: naming the model, the shape or the key.
    """
    check_flip(run.config, run.source, run.inputs)
    with options_of("data"):
        check_position(run.inputs, run.clip)
    if run.features is None:
        with options_of("data"):
            for part in ("train", "validation", "test"):
                check_stored_sizes(getattr(run.source, part), run.inputs, run.clip, training=part == "train")
    _check_input(run)
    _check_crops(run)


def check_readable(source: Source, bad: Mapping[str, str], max_bad_fraction: float | None) -> None:
    """Refuses training data with too many unreadable videos; the readable ones replace the others.

    One is always allowed, so that a broken file does not stop a small data set, unless `data.max_bad_fraction` is 0
    or no other video is left.

    Args:
      source: with the training part.
      bad: id -> reason of its videos that cannot be read.
      max_bad_fraction: the fraction of them that may be unreadable; None: 0.01.

    Raises:
      DataError: naming the first, and what to set in order to continue.
    """
    limit = 0.01 if max_bad_fraction is None else max_bad_fraction
    videos = len(source.train)
    if not bad or (len(bad) < videos and (len(bad) / videos <= limit or (len(bad) == 1 and limit > 0))):
        return
    name, reason = next(iter(bad.items()))
    which = f"{printable(name)}: {reason}"
    if all(each.reader == "video" for each in source.inputs):
        which += " (python -m vidjax check-data PATH lists them)"
    elif len(source.inputs) == 1:  # else the reason says which file of the video it is
        which += f" ({next(printable(video.path) for video in source.train if video.id == name)})"
    if len(bad) == videos:
        raise DataError(f"none of the {videos} training videos can be read, e.g. {which}")
    # Rounded up to two digits, so that it is short and large enough.
    enough = decimal.Context(prec=2, rounding=decimal.ROUND_CEILING).divide(decimal.Decimal(len(bad)), videos)
    raise DataError(
        f"{len(bad)} of {videos} training videos cannot be read, more than data.max_bad_fraction={limit:g} allows;"
        f" e.g. {which}; to skip them, set --config.data.max_bad_fraction={enough:f}"
    )


def _check_input(run: Run) -> None:
    """Refuses inputs that the network shrinks to nothing, and outputs of an unexpected shape."""
    name = run.config.model.factory or run.config.model.name
    with _shape_errors(name, run.shapes(run.input_side)):
        counts = run.summary
        _check_output(run, name)
    ignores_devices = run.strategy.axis_name is not None and not hasattr(run.model, "axis_name")
    if ignores_devices and run.abstract_state.model_state:
        raise ConfigError(
            f"model {name!r} keeps batch statistics and takes no option 'axis_name', so they"
            " would differ between devices: use parallel=sharded"
        )
    if run.config.optimizer.multipliers or recipe.frozen(run.config.optimizer):
        recipe.check_groups(run.config.optimizer, run.abstract_state.params)
    _check_view(run, name)
    if not all(math.prod(layer.output_shape) for layer in counts.layers):
        raise ConfigError(_too_small(name, run.shapes(run.input_side)))


def _check_applies(name: str, model: nn.Module, shape: tuple[int, ...]) -> None:
    """Refuses an input that the network cannot be applied to or shrinks to nothing; computes nothing.

    Args:
      name: of the model.
      model: the network, which takes rgb alone.
      shape: [T, H, W, C] of rgb.

    Raises:
      ConfigError: naming both.
    """
    empty: list[Any] = []

    def note(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = call(*args, **kwargs)
        empty.extend(leaf for leaf in jax.tree.leaves(result) if getattr(leaf, "size", 1) == 0)
        return result

    with _shape_errors(name, {"rgb": shape}), native_operations(), nn.intercept_methods(note):
        jax.eval_shape(
            lambda rgb: model.init(jax.random.key(0), rgb=rgb), jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        )
    if empty:
        raise ConfigError(_too_small(name, {"rgb": shape}))


def _describe_shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return " and ".join(f"{name} {shape}" for name, shape in shapes.items())


def _too_small(name: str, shapes: Mapping[str, tuple[int, ...]]) -> str:
    return f"an input of {_describe_shapes(shapes)} is too small for model {name!r}"


@contextlib.contextmanager
def _shape_errors(name: str, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[None]:
    """Raises a layer's shape error anew, with the model and the input on which it occurred."""
    try:
        with options_of("model"):
            yield
    except (ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
        # A layer without filters, or one that nothing is left for, divides by zero when it is initialized.
        by_zero = isinstance(error, ZeroDivisionError)
        reason = "a layer shrinks it to nothing, or its width leaves no filters" if by_zero else error
        raise ConfigError(
            f"model {name!r} cannot be applied to {_describe_shapes(shapes)}: {str(reason).splitlines()[0]}"
        ) from error


def _check_output(run: Run, name: str) -> None:
    """Refuses a model whose output does not have the shape that the loss expects."""
    batch, classes = 3, len(run.source.classes)  # a batch size that equals no other dimension
    output = _output(run, run.input_side, batch)
    if not isinstance(output, Output):
        raise ConfigError(
            f"model {name!r} returns a {type(output).__name__}, neither logits nor a vidjax.models.Output"
        )
    shape = tuple(output.logits.shape)
    if len(shape) != 3 or shape[0] != batch or shape[2] != classes:
        raise ConfigError(
            f"model {name!r} returns logits of the shape {shape} for a batch of {batch} clips and {classes} classes:"
            f" make it [batch, classes], ({batch}, {classes}), or [batch, positions, classes]"
        )
    step, label = jax.ShapeDtypeStruct((), jnp.int32), jax.ShapeDtypeStruct((batch,), jnp.int32)
    with options_of("loss"):
        found = jax.eval_shape(
            lambda output, label, step: losses.bind_step(run.loss, step)(output, label), output, label, step
        )
    if getattr(found, "shape", None) != (batch,):
        raise ConfigError(
            f"loss {declarations.label(run.config.loss)!r} returns {found} for a batch of {batch} clips: make it one"
            " number for each example, [batch]"
        )


def _check_view(run: Run, name: str) -> None:
    """Refuses evaluation views that the trained weights cannot be applied to."""
    try:
        _output(run, run.view_side, 1)
    except flax.errors.ScopeParamShapeError as error:
        raise ConfigError(
            f"model {name!r} has other weights for the views of {_describe_shapes(run.shapes(run.view_side))}"
            f" (evaluate.crop) than for the {_describe_shapes(run.shapes(run.input_side))} that it is trained with:"
            " leave evaluate.crop out"
        ) from error


def _output(run: Run, side: int, batch: int) -> Any:
    """Returns the shapes of the model's output in evaluation, for a batch with images of this side."""

    def applied(state: Any, inputs: Any) -> Any:
        return models.apply(run.model, {"params": state.params, **state.model_state}, {**inputs, "train": False})

    return jax.eval_shape(applied, run.abstract_state, run.specs(side, batch))


def _check_crops(run: Run) -> None:
    """Refuses several test crops that would all be the same square, judged by the first test video."""
    views = data.test_views(run.config)
    if views.crops == "center":
        return
    video, image = run.source.test[0], run.source.image
    if image is None:
        raise ConfigError(
            f"evaluate.crops={views.crops}: {run.source.name} has no images to crop: use evaluate.crops=center"
        )
    try:
        info = streams.probe(video.streams[image.stream_name], image)
    except VideoError:
        return  # the evaluation lists it
    height, width = run.clip.resizing(training=False)(info.height, info.width)
    if run.clip.resize == "letterbox":
        height = width = max(height, width)
    if height == width == views.side_of(run.clip):
        raise ConfigError(
            f"evaluate.crops={views.crops}: all crops would be identical, because the model sees all {height}x{width}"
            f" pixels of a frame ({video.path}); use evaluate.crops=center or a smaller preprocessing.crop"
        )
