"""What is refused before a run begins: values out of range, and keys that do not fit each other or the data.

In the order in which it can be known: `check_config` and `check_shapes` by the config alone, `check_devices` by where
it is to run, `check_data` and `check_readable` by the data, `check_run` by what was built.
"""

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

from vidjax import building, configuration, data_config, declarations, models
from vidjax.data import reading
from vidjax.data.inputs import Input
from vidjax.data.records import Source
from vidjax.errors import ConfigError, DataError, VideoError, options_of, printable
from vidjax.layers.convolution import native_operations
from vidjax.models.output import Output
from vidjax.preprocessing.pipeline import mirror_refusal
from vidjax.run import Run
from vidjax.training import losses, parallel, recipe, schedules
from vidjax.training.durations import to_steps

_OF_CAPSULES = ("margin", "spread")
_LENGTHS = {"schedule": ("warmup_steps", "warmup_epochs", "warmup_fraction"), "train": ("steps", "epochs")}


def check_config(config: ConfigDict) -> None:
    """Refuses what can be known of a config alone: before its data, a device or an earlier run are looked at.

    Gives it the options of what it chooses (None where they are not given). Starts no back end of JAX.

    Raises:
      ConfigError: for values out of range, keys that do not fit each other, unknown names, and options not taken.
    """
    declarations.declare_all(config)
    _check_values(config)
    data_config.check_source_options(config)
    building.model(config, 2)
    recipe.optimizer(config.optimizer, 0.0)
    building.preprocessing(config.preprocessing, "invariant", (), config.evaluate.crop)
    _check_validation(config, validation_videos=1)
    _check_schedule(config)
    with options_of("loss"):
        losses.check(building.loss(config.loss, total_steps=1000, steps_per_epoch=1.0))


def check_shapes(config: ConfigDict) -> None:
    """Refuses clips that the model cannot be applied to, as far as they do not depend on the data.

    Raises:
      ConfigError: naming the model and the shape.
    """
    side = config.preprocessing.crop or config.data.crop
    if config.model.factory is None:  # a model of one's own may be made for a number of classes
        model = building.model(config, 2)
        if models.input_names(model) == ("rgb",) and config.data.inputs is None:  # else the source says what they are
            _check_applies(config.model.name, model, (config.data.frames, side, side, 3))


def check_devices(config: ConfigDict, form: parallel.Form) -> None:
    """Refuses batches that do not divide among the devices.

    Raises:
      ConfigError: naming the key.
    """
    form.check_batch_size(config.train.batch_size, "train.batch_size", parts=config.train.accumulate or 1)
    form.check_batch_size(config.evaluate.batch_size, "evaluate.batch_size")
    _check_pairs(config, form)


def check_data(config: ConfigDict, source: Source) -> None:
    """Refuses what the number of videos, or the source's rule for mirror images, does not allow.

    Raises:
      ConfigError: naming the key.
    """
    steps_per_epoch = len(source.train) / config.train.batch_size
    if to_steps(config.train, "", path="train", steps_per_epoch=steps_per_epoch) < 1:
        raise ConfigError(
            f"train.steps={config.train.steps}, train.epochs={config.train.epochs}: a run has at least 1 step"
            f" (an epoch has {steps_per_epoch:g})"
        )
    _check_validation(config, len(source.validation))
    _check_mirror(config, source, ())


def check_run(run: Run) -> None:
    """Refuses inputs and views that the network cannot be applied to, and what their records do not allow.

    Raises:
      ConfigError: naming the model, the shape or the key.
    """
    _check_mirror(run.config, run.source, run.inputs)
    _check_input(run)
    _check_crops(run)


def _check_values(config: ConfigDict) -> None:
    """Refuses values that are out of range, not among the known words, or do not fit each other.

    Args:
      config: with the options of what it chooses.

    Raises:
      ConfigError: naming the key, its value and what to give.
    """
    declarations.check_values(config)
    flat = configuration.flatten(config)
    clip = data_config.clip(config)
    for name, views in (
        ("clips", data_config.test_views(config)),
        ("validation_clips", data_config.validation_views(config)),
    ):
        if clip.is_fixed and views.clips > 1:
            key = "position" if clip.frame_number is None else "frame_number"
            raise ConfigError(f"data.{key}={config.data[key]} is one clip per video: set evaluate.{name}=1")
    for key in ("preprocessing.crop", "evaluate.crop"):
        if flat[key] is not None and flat[key] > clip.crop:
            raise ConfigError(f"{key}={flat[key]} is larger than data.crop={clip.crop}, which it is cut from")
    if config.train.batch_size % (config.train.accumulate or 1):
        raise ConfigError(
            f"train.batch_size={config.train.batch_size} does not divide into"
            f" train.accumulate={config.train.accumulate} parts"
        )
    if (config.loss.name in _OF_CAPSULES) != (config.evaluate.average == "lengths"):
        raise ConfigError(
            f"loss.name={config.loss.name} and evaluate.average={config.evaluate.average} do not fit: the losses"
            f" {' and '.join(_OF_CAPSULES)} and the average lengths are for capsules, and go together"
        )


def _check_schedule(config: ConfigDict) -> None:
    """Refuses what `recipe.schedule` refuses, as far as that can be known without the data and a device.

    Raises:
      ConfigError: naming the key; also if the config does not give the length of the run, or twice.
    """
    total_steps, steps_per_epoch = _assumed_length(config)
    given = recipe.schedule_options(config.schedule, total_steps, steps_per_epoch)
    if given.get("warmup_steps", 0) > total_steps:
        told = {f"{path}.{key}": config[path].get(key) for path, keys in _LENGTHS.items() for key in keys}
        raise ConfigError(
            f"{', '.join(f'{key}={value:g}' for key, value in told.items() if value is not None)}:"
            " the warm-up is longer than the run"
        )
    rate = recipe.peak_rate(config.optimizer, config.train.batch_size)
    with options_of("schedule"):
        schedules.check(config.schedule.name, rate, total_steps, **given)


def _assumed_length(config: ConfigDict) -> tuple[int, float]:
    """Steps in all and steps per epoch, to compare durations with before the number of videos is known.

    What is in the unit of the run compares with it as it will; what is not is taken for short.
    """
    total_steps = to_steps(config.train, "", path="train", steps_per_epoch=1e9)
    in_epochs = any(value is not None for key, value in config.schedule.items() if key.endswith("_epochs"))
    if config.train.steps is not None and in_epochs:
        return 10**12, 1e3
    return total_steps, 1e9


def _check_validation(config: ConfigDict, validation_videos: int) -> None:
    """Refuses what needs validations where there are none.

    Raises:
      ConfigError: naming the key.
    """
    regular = {
        f"schedule.name={config.schedule.name}": config.schedule.name == "plateau",
        f"train.stop_after={config.train.stop_after}": config.train.stop_after is not None,
    }
    for key in [key for key, used in regular.items() if used]:
        validates = config.train.validate_every or config.train.validate_every_fraction is not None
        if not validation_videos or not validates:
            raise ConfigError(f"{key} needs validation videos and train.validate_every above 0")
    if config.evaluate.weights == "best" and not validation_videos:
        raise ConfigError("evaluate.weights=best needs validation videos to choose by")
    if config.evaluate.weights == "ema" and config.train.ema is None:
        raise ConfigError("evaluate.weights=ema needs train.ema, e.g. 0.999")


def _check_pairs(config: ConfigDict, form: parallel.Form) -> None:
    """Refuses mixup, cutmix and normalisation in groups where the examples that belong together are not on one device.

    A group may also be shared by whole devices.
    """
    size, devices, parts = config.batch_norm.group_size, len(form.devices), config.train.accumulate or 1
    if size is not None:
        each = config.train.batch_size // (devices * parts)
        if each % size and (size % each or devices % (size // each)):
            raise ConfigError(
                f"batch_norm.group_size={size} does not fit train.batch_size={config.train.batch_size} on {devices}"
                f" device(s) in {parts} part(s): {each} examples each"
            )
    for key in ("mixup", "cutmix"):
        if not config.preprocessing[key]:
            continue
        multiple = 2 * len(form.devices) * (config.train.accumulate or 1)
        if config.train.batch_size % multiple:
            raise ConfigError(
                f"train.batch_size={config.train.batch_size}: preprocessing.{key} pairs neighbours,"
                f" so give a multiple of {multiple}, an even number for each device and accumulated part"
            )
        if jax.process_count() > 1:
            raise ConfigError(f"preprocessing.{key} is for one process: neighbours are on different hosts here")


def _check_mirror(config: ConfigDict, source: Source, inputs: tuple[Input, ...]) -> None:
    """Refuses flips that the source, or an input, does not allow."""
    refusal = mirror_refusal(source.mirror, inputs)
    flips = {
        "preprocessing.flip=True": config.preprocessing.flip,
        "evaluate.flip=True": config.evaluate.flip,
        "evaluate.crops=ten": config.evaluate.crops == "ten",
    }
    can_be_told = "mirror" in declarations.of_choice("data", config.data)
    rule = "set data.mirror=invariant" if can_be_told else "give its Source mirror='invariant'"
    hint = f" {rule} if a mirrored clip keeps its class, or" if source.mirror is None else ""
    for key in [key for key, is_used in flips.items() if is_used and refusal]:
        raise ConfigError(f"{key}, but {refusal}:{hint} turn the flip off")


def check_readable(source: Source, bad: Mapping[str, str], max_bad_fraction: float | None) -> None:
    """Refuses training data of which too much cannot be read; what is left stands in its place.

    One video is never too much, so that small sets bear a broken file, unless `data.max_bad_fraction` is 0 or no
    other video is left.

    Args:
      source: with the training part.
      bad: id -> reason of its videos that cannot be read.
      max_bad_fraction: the share of them that may be; None: 0.01.

    Raises:
      DataError: naming the first, and what to type in order to go on.
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
    # The next number of two digits, so that it holds for these and is short.
    enough = decimal.Context(prec=2, rounding=decimal.ROUND_CEILING).divide(decimal.Decimal(len(bad)), videos)
    raise DataError(
        f"{len(bad)} of {videos} training videos cannot be read, more than data.max_bad_fraction={limit:g} allows;"
        f" e.g. {which}; --config.data.max_bad_fraction={enough:f} goes on without them"
    )


def _check_input(run: Run) -> None:
    """Refuses inputs that the network shrinks to nothing, or a result of another shape."""
    name = run.config.model.factory or run.config.model.name
    with _applying(name, run.shapes(run.input_side)):
        counts = run.summary
        _check_output(run, name)
    ignores_devices = run.form.axis_name is not None and not hasattr(run.model, "axis_name")
    if ignores_devices and run.abstract_state.model_state:
        raise ConfigError(
            f"model {name!r} keeps batch statistics and takes no option 'axis_name', so they"
            " would differ between devices: take parallel=sharded"
        )
    if run.config.optimizer.multipliers or run.config.optimizer.freeze:
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

    with _applying(name, {"rgb": shape}), native_operations(), nn.intercept_methods(note):
        jax.eval_shape(
            lambda rgb: model.init(jax.random.key(0), rgb=rgb), jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        )
    if empty:
        raise ConfigError(_too_small(name, {"rgb": shape}))


def _described(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return " and ".join(f"{name} {shape}" for name, shape in shapes.items())


def _too_small(name: str, shapes: Mapping[str, tuple[int, ...]]) -> str:
    return f"an input of {_described(shapes)} is too small for model {name!r}"


@contextlib.contextmanager
def _applying(name: str, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[None]:
    """Says of what a layer stumbles over which model and which input it is."""
    try:
        with options_of("model"):
            yield
    except (ValueError, TypeError, AttributeError, ZeroDivisionError) as error:
        # A layer without filters, or one that nothing is left for, divides by zero when it is initialised.
        by_zero = isinstance(error, ZeroDivisionError)
        reason = "nothing is left of it, or its width leaves no filters" if by_zero else error
        raise ConfigError(
            f"model {name!r} cannot be applied to {_described(shapes)}: {str(reason).splitlines()[0]}"
        ) from error


def _check_output(run: Run, name: str) -> None:
    """Refuses a model whose result a loss would misread in silence, and a loss that cannot take it."""
    batch, classes = 3, len(run.source.classes)  # a batch of another size than anything else
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
        jax.eval_shape(lambda output, label, step: losses.at_step(run.loss, step)(output, label), output, label, step)


def _check_view(run: Run, name: str) -> None:
    """Refuses views in evaluation that the weights of training do not fit."""
    try:
        _output(run, run.view_side, 1)
    except flax.errors.ScopeParamShapeError as error:
        raise ConfigError(
            f"model {name!r} has other weights for the views of {_described(run.shapes(run.view_side))} (evaluate.crop)"
            f" than for the {_described(run.shapes(run.input_side))} that it is trained with: leave evaluate.crop out"
        ) from error


def _output(run: Run, side: int, batch: int) -> Any:
    """What the model returns in evaluation for a batch with images of this side, as shapes."""

    def applied(state: Any, inputs: Any) -> Any:
        return models.apply(run.model, {"params": state.params, **state.model_state}, {**inputs, "train": False})

    return jax.eval_shape(applied, run.abstract_state, run.specs(side, batch))


def _check_crops(run: Run) -> None:
    """Refuses several test crops that would all be the same square, by the first test video."""
    views = data_config.test_views(run.config)
    if views.crops == "centre":
        return
    video, image = run.source.test[0], run.source.image
    if image is None:
        raise ConfigError(
            f"evaluate.crops={views.crops}: {run.source.name} has no images to be cut: take evaluate.crops=centre"
        )
    try:
        info = reading.probe(video.streams[image.stream_name], image)
    except VideoError:
        return  # the evaluation lists it
    height, width = run.clip.resizing(training=False)(info.height, info.width)
    if run.clip.resize == "letterbox":
        height = width = max(height, width)
    if height == width == views.side_of(run.clip):
        raise ConfigError(
            f"evaluate.crops={views.crops}: all crops would be the same, since the model sees all {height}x{width}"
            f" pixels of a frame ({video.path}); take evaluate.crops=centre or a smaller preprocessing.crop"
        )
