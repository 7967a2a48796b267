"""Builds the parts of a run from its config; `vidjax.config.validation` checks before and after."""

import collections
import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from ml_collections import ConfigDict

from vidjax import models
from vidjax.config import data, recipe, sections
from vidjax.config.run import Run
from vidjax.data.cache.disk import DiskCache
from vidjax.data.cache.interface import Cache
from vidjax.data.cache.memory import MemoryCache
from vidjax.data.flip_rule import FlipRule
from vidjax.data.inputs import DIFFERENCE, GRADIENT, GRAY, RGB, Input
from vidjax.data.records import Source
from vidjax.errors import ConfigError, OptionError, options_of
from vidjax.options import choosing, signatures
from vidjax.options.suggestions import did_you_mean
from vidjax.preprocessing.augment import ColorJitter
from vidjax.preprocessing.erasing import Erasing
from vidjax.preprocessing.mixing import Mixing
from vidjax.preprocessing.pipeline import Preprocessing
from vidjax.preprocessing.warp import Warp
from vidjax.system.paths import cache_dir
from vidjax.training import losses, parallel
from vidjax.training.durations import options_in_steps, to_steps
from vidjax.training.step import LossFunction

_COMPUTED = {"flow": "dis_fast", "pose": "blazepose"}  # streams that can be computed -> by what, usually


def source(config: ConfigDict) -> Source:
    """Builds the data source, reduced to the inputs that the model takes.

    Raises:
      ConfigError: for options that it does not take, or a model that takes what it does not have.
      DataError: if the data are incomplete or contradict themselves.
    """
    found = data.source(config)
    taken = {each.stream_name for each in _inputs(config, found, model(config, len(found.classes)))}
    return dataclasses.replace(found, inputs=tuple(each for each in found.inputs if each.stream_name in taken))


def run(config: ConfigDict, source: Source, strategy: parallel.ParallelStrategy) -> Run:
    """Builds everything that a config describes.

    Args:
      config: resolved.
      source: that it names.
      strategy: how the steps are parallelized.

    Raises:
      ConfigError: for keys that do not fit each other or the data.
    """
    network = model(config, len(source.classes), strategy.axis_name)
    inputs = _inputs(config, source, network)
    steps_per_epoch = len(source.train) / config.train.batch_size
    total_steps = to_steps(config.train, "", path="train", steps_per_epoch=steps_per_epoch)
    rate = recipe.peak_rate(config.optimizer, config.train.batch_size)
    schedule = recipe.schedule(config.schedule, rate, total_steps, steps_per_epoch)
    return Run(
        config=config,
        source=source,
        inputs=inputs,
        clip=data.clip(config),
        cache=cache(config.data.cache, config.data.cache_gigabytes),
        strategy=strategy,
        model=network,
        preprocessing=preprocessing(config.preprocessing, source.mirror, inputs, config.evaluate.crop),
        loss=loss(config.loss, total_steps, steps_per_epoch, class_counts=_class_counts(source)),
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        schedule=schedule,
        optimizer=recipe.optimizer(config.optimizer, schedule),
    )


def _inputs(config: ConfigDict, source: Source, network: nn.Module) -> tuple[Input, ...]:
    return inputs_of(config, source.inputs, source.name, network)


def inputs_of(config: ConfigDict, streams: Sequence[Input], source: str, network: nn.Module) -> tuple[Input, ...]:
    """The inputs of a network, bound to the streams of a source.

    Args:
      config: resolved.
      streams: that the videos of the source have.
      source: its name.
      network: the model of the config.

    Raises:
      ConfigError: for an input or a mask that the source does not have.
    """
    name, names = config.model.factory or config.model.name, models.input_names(network)
    inputs = bind_inputs(names, streams, config.data.inputs, model=name, source=source)
    for mask in models.required_masks(network):
        if mask not in {f"{each.name}_mask" for each in inputs if each.is_masked}:
            raise ConfigError(
                f"model {name!r} needs {mask!r}, which does not exist: only points, and floats that are not images,"
                " have masks"
            )
    return inputs


def bind_inputs(
    names: Sequence[str], inputs: Sequence[Input], binding: str | None, *, model: str, source: str
) -> tuple[Input, ...]:
    """Binds each input of a model to the stream of its own name, or to the stream that is given for it.

    Args:
      names: of the model's inputs.
      inputs: of the data source.
      binding: "NAME=STREAM,..."; for a model of one input "STREAM" will do.
      model, source: their names, for messages.

    Raises:
      ConfigError: for a name that the model does not take, or a stream that the source does not have.
    """
    streams = {each.stream_name: each for each in inputs}
    if RGB in inputs:
        streams |= {each.name: each for each in (GRAY, DIFFERENCE, GRADIENT) if each.name not in streams}
    chosen: dict[str, str] = {}
    for part in filter(None, (binding or "").split(",")):
        name, equals, stream = (word.strip() for word in part.rpartition("="))
        name = name if equals or len(names) != 1 else names[0]
        if not stream or name in chosen:
            raise ConfigError(f"data.inputs={binding!r}: give each input one stream, written NAME=STREAM,...")
        if name not in names:
            raise ConfigError(
                f"data.inputs={binding!r}: model {model!r} takes no {name or part!r}{did_you_mean(name or part, names)}"
                f" (it takes: {', '.join(names)}; written NAME=STREAM,...)"
            )
        chosen[name] = stream
    found = []
    for name in names:
        stream = chosen.get(name, name)
        if stream not in streams:
            other = "" if name in chosen else f"; to read another stream, set --config.data.inputs={name}=STREAM"
            if stream in _COMPUTED and "rgb" in streams:
                other = f"; --config.data.{stream}={_COMPUTED[stream]} computes it"
            raise ConfigError(
                f"model {model!r} takes {name!r}, and the videos of {source} have no {stream!r}"
                f"{did_you_mean(stream, streams)} (they have: {', '.join(streams)}){other}"
            )
        origin = streams[stream].stream_name
        found.append(dataclasses.replace(streams[stream], name=name, stream="" if origin == name else origin))
    return tuple(found)


def model(config: ConfigDict, classes: int, axis_name: str | None = None) -> nn.Module:
    """The network.

    Args:
      config: resolved.
      classes: K.
      axis_name: the device axis, under `pmap`.

    Raises:
      ConfigError: for what it does not take.
    """
    given = sections.of_choice("model", config.model)
    name, factory = config.model.name, config.model.factory
    if config.dtype != "float32":
        function = models.find(name, factory)
        if "dtype" not in signatures.accepted(function) and not signatures.accepts_any_option(function):
            raise ConfigError(f"dtype={config.dtype}: model {factory or name!r} does not support dtype: use float32")
        given["dtype"] = jnp.dtype(config.dtype)
    if config.batch_norm.group_size is not None:
        if "group_size" not in signatures.accepted(models.find(name, factory)):
            raise ConfigError(f"model {factory or name!r} takes no batch_norm.group_size: leave it out (None)")
        given["group_size"] = config.batch_norm.group_size
    if axis_name is not None and "axis_name" in signatures.accepted(models.find(name, factory)):
        given["axis_name"] = axis_name
    return models.create(name, classes, factory=factory, **given)


def preprocessing(
    section: ConfigDict, mirror: FlipRule, inputs: tuple[Input, ...], evaluation_crop: int | None
) -> Preprocessing:
    """Builds the augmentation and normalization on the device.

    Args:
      section: `config.preprocessing`.
      mirror: the data source's rule.
      inputs: of the model.
      evaluation_crop: side of a view, in pixels; None: as in training.

    Raises:
      ConfigError: for keys that do not fit each other, the inputs or the mirror rule.
    """
    with options_of("preprocessing"):
        return Preprocessing(
            inputs=inputs,
            crop=section.crop,
            evaluation_crop=evaluation_crop,
            flip=section.flip,
            mirror=mirror,
            warp=Warp(section.rotation or 0.0, section.zoom or 0.0, section.shift or 0.0),
            color=ColorJitter(section.brightness, section.contrast, section.saturation),
            erasing=_erasing(section),
            mixing=Mixing(section.mixup or 0.0, section.cutmix or 0.0),
            mean=section.mean,
            std=section.std,
        )


def _erasing(section: ConfigDict) -> Erasing:
    keys = {"erasing": "probability"} | {f"erasing_{name}": name for name in ("area_min", "area_max", "aspect_min")}
    given = {name: section[key] for key, name in keys.items() if section[key] is not None}
    if not given.get("probability") and given.keys() - {"probability"}:
        raise OptionError("the options erasing_* have no effect without {erasing}, a probability above 0", ["erasing"])
    if (erasing := Erasing(**given)).area_min > erasing.area_max:
        low, high = "erasing_area_min", "erasing_area_max"
        raise OptionError(f"{{{low}}}={erasing.area_min:g} is above {{{high}}}={erasing.area_max:g}", [low, high])
    return erasing


def _class_counts(source: Source) -> tuple[int, ...]:
    """How many training videos each class has."""
    counts = collections.Counter(video.label for video in source.train)
    return tuple(counts[label] for label in range(len(source.classes)))


def loss(
    section: ConfigDict, total_steps: int, steps_per_epoch: float, *, class_counts: Sequence[int] = ()
) -> LossFunction:
    """Builds the per-example loss from `config.loss`, the length of the run and the videos of each class.

    Raises:
      ConfigError: for options that it does not take.
    """
    name, factory = section.name, section.factory
    function = choosing.resolve("loss", losses.LOSSES, name, factory)
    given = options_in_steps(
        sections.of_choice("loss", section),
        signatures.accepted(function),
        path="loss",
        steps_per_epoch=steps_per_epoch,
        total_steps=total_steps,
    )
    choosing.check("loss", losses.LOSSES, factory or name, function, given, positional=2)
    if factory:
        by_run = {"step"} & inspect.signature(function).parameters.keys()
        choosing.check_call("loss", factory, function, 2, given.keys() | by_run)
    if class_counts and "class_counts" in signatures.accepted(function):
        given["class_counts"] = tuple(class_counts)
    return functools.partial(function, **given)


# Name -> constructor of a cache of decoded videos, from its size in bytes.
CACHES: dict[str, Callable[[int], Cache | None]] = {
    "none": lambda size: None,
    "memory": MemoryCache,
    "disk": lambda size: DiskCache(cache_dir() / "videos", size),
}


def cache(kind: str, gigabytes: float) -> Cache | None:
    """Builds the cache of decoded videos: one of `CACHES`."""
    return CACHES[kind](int(gigabytes * 1e9))
