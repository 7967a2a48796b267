"""The keys of a config that every run has, whatever it chooses: types, defaults, ranges and help, section by section.

What is chosen by a name (a model, a source, a loss, an optimizer, a schedule) declares its own options, which come to
these (`vidjax.config.declarations`). A key whose default is None was not given.
"""

import dataclasses
from typing import Annotated, Any

from ml_collections import ConfigDict, FieldReference
from ml_collections.config_dict import placeholder

from vidjax.options import declaring
from vidjax.options.declaring import Option, OptionSpec


@dataclasses.dataclass(frozen=True)
class RootSection:
    """The keys outside of all sections."""

    name: Annotated[str, Option("names the default workdir: runs/<name>")] = "default"
    seed: Annotated[
        int, Option("of parameters, order of examples, clips and augmentation", at_least=-(2**63), below=2**63)
    ] = 0
    dtype: Annotated[str, Option("of the computation; parameters stay float32", words=("float32", "bfloat16"))] = (
        "float32"
    )
    parallel: Annotated[
        str,
        Option(
            "jit: one device; pmap, sharded: several; all give the same numbers",
            words=("auto", "jit", "pmap", "sharded"),
        ),
    ] = "auto"
    native_convolutions: Annotated[
        bool, Option("XLA's own convolutions and pooling on CPUs too, many times slower in 3D")
    ] = False
    keep_memory: Annotated[
        bool, Option("on CPUs with glibc: what a step frees stays for the next one, instead of page faults")
    ] = True


@dataclasses.dataclass(frozen=True)
class ModelSection:
    """Which network; its options are its own."""

    name: Annotated[
        str, Option("single_frame | early_fusion | late_fusion | slow_fusion | multires | c3d | ... docs/model_zoo.md")
    ] = "early_fusion"
    factory: Annotated[str | None, Option("'my_package.my_module:build' instead of a name: a model of one's own")] = (
        None
    )


@dataclasses.dataclass(frozen=True)
class DataSection:
    """Which source, whose options are its own; what is cut from a video; how it is read."""

    name: Annotated[str, Option("motion | ucf101 | folder | csv | kinetics | hmdb51 | mnist | packed")] = "motion"
    factory: Annotated[str | None, Option("'my_package.my_module:load' instead of a name: a source of one's own")] = (
        None
    )

    inputs: Annotated[
        str | None,
        Option("'rgb=flow': the model's rgb is read from the stream flow, for one input 'flow'; None: by their names"),
    ] = None

    frames: Annotated[int, Option("T, frames of a clip", at_least=1)] = 10
    sampling: Annotated[
        str | None,
        Option("dense (None): at a stride; segments: one frame of each of T equal parts", words=("dense", "segments")),
    ] = None
    stride: Annotated[
        int | None, Option("frames from one frame of the clip to the next; None, as 1: every frame", at_least=1)
    ] = None
    fps: Annotated[float | None, Option("frames per second of the clip, instead of a stride", above=0)] = None
    position: Annotated[
        str,
        Option("of the clip; random: uniform in testing", words=("random", "first", "middle", "last")),
    ] = "random"
    frame_number: Annotated[int | None, Option("the clip starts at this frame, from 0, in training and testing")] = None
    resize: Annotated[
        str | None,
        Option(
            "short_side (None); letterbox is padded with preprocessing.mean",
            words=("short_side", "squash", "letterbox"),
        ),
    ] = None
    short_side: Annotated[int | None, Option("pixels; None: as the file has it", at_least=1)] = None
    short_side_max: Annotated[
        int | None, Option("pixels; in training the short side is drawn from short_side to this", at_least=1)
    ] = None
    size: Annotated[int | None, Option("pixels: side of the square frame, for squash and letterbox", at_least=1)] = None
    crop: Annotated[int, Option("pixels: side of the one square that the host cuts", at_least=1)] = 56
    crop_position: Annotated[str, Option("of that square in training", words=("center", "random"))] = "center"

    check: Annotated[bool | None, Option("inspect each file once, before its first use (None: yes)")] = None
    max_bad_fraction: Annotated[
        float | None,
        Option(
            "training videos that may be unreadable, as a share; None: 0.01; one always may, unless this is 0",
            at_least=0,
            at_most=1,
        ),
    ] = None
    cache: Annotated[
        str, Option("keep decoded videos; on disk for later runs, too", words=("none", "memory", "disk"))
    ] = "memory"
    cache_gigabytes: Annotated[float, Option("at most; what does not fit is decoded at every use", at_least=0)] = 4.0
    threads: Annotated[int, Option("reading threads", at_least=0)] = 2
    workers: Annotated[int, Option("reading processes; threads are faster on small machines", at_least=0)] = 0


@dataclasses.dataclass(frozen=True)
class PreprocessingSection:
    """What happens to clips on the device."""

    crop: Annotated[
        int | None, Option("pixels: side of what the model sees; random in training, else center", at_least=1)
    ] = None
    flip: Annotated[bool, Option("mirror half of the training clips; labels follow the source's rule")] = False
    brightness: Annotated[
        float, Option("strength s: factor from U[1-s, 1+s] per clip; 0 is off", at_least=0, at_most=1)
    ] = 0.0
    contrast: Annotated[float, Option("likewise", at_least=0, at_most=1)] = 0.0
    saturation: Annotated[float, Option("likewise", at_least=0, at_most=1)] = 0.0
    rotation: Annotated[
        float | None,
        Option("degrees r: angle from U[-r, r] per clip; small if directions matter", at_least=0, at_most=180),
    ] = None
    zoom: Annotated[float | None, Option("z: enlarged by a factor from U[1-z, 1+z] per clip", at_least=0, below=1)] = (
        None
    )
    shift: Annotated[
        float | None,
        Option("s: moved by U[-s, s] of the height and of the width, per clip", at_least=0, at_most=1),
    ] = None
    erasing: Annotated[
        float | None,
        Option("probability of erasing one rectangle, the same in all frames", at_least=0, at_most=1),
    ] = None
    erasing_area_min: Annotated[
        float | None, Option("its smallest share of the frame; None: 0.02", above=0, at_most=1)
    ] = None
    erasing_area_max: Annotated[float | None, Option("its largest; None: 0.4", above=0, at_most=1)] = None
    erasing_aspect_min: Annotated[
        float | None, Option("a: its height / width is from [a, 1/a]; None: 0.3", above=0, at_most=1)
    ] = None
    mixup: Annotated[
        float | None,
        Option("alpha of Beta(alpha, alpha): share of the clip, the rest is its neighbour's", at_least=0),
    ] = None
    cutmix: Annotated[
        float | None,
        Option("alpha, likewise: a rectangle shows the neighbour; with mixup: either", at_least=0),
    ] = None
    mean: Annotated[
        float | tuple[float, ...],
        Option("subtracted from pixel values 0..255: one number, or one for each channel"),
    ] = 117.0
    std: Annotated[float | tuple[float, ...], Option("divides them afterwards, likewise", above=0)] = 58.0


@dataclasses.dataclass(frozen=True)
class LossSection:
    """Which loss; its options are its own."""

    name: Annotated[str, Option("cross_entropy | margin (capsule lengths) | spread (capsule activations)")] = (
        "cross_entropy"
    )
    factory: Annotated[str | None, Option("'my_package.my_module:loss' instead of a name: a loss of one's own")] = None


@dataclasses.dataclass(frozen=True)
class OptimizerSection:
    """Which optimizer, whose options are its own, and what every one is built with."""

    name: Annotated[str, Option("sgd | momentum | nesterov | rmsprop | adagrad | ... docs/running.md")] = "adamw"
    learning_rate: Annotated[
        float, Option("the schedule's peak; adadelta wants about 1, muon 0.02, adafactor 0.01, lion 1e-4", at_least=0)
    ] = 1e-3
    scale_with_batch: Annotated[
        str | None, Option("rate * (batch / base), or its square root", words=("linear", "sqrt"))
    ] = None
    base_batch_size: Annotated[int | None, Option("of that rule, in clips; None: 256", at_least=1)] = None
    clip_norm: Annotated[float | None, Option("largest global norm of the gradient", above=0)] = None
    multipliers: Annotated[str | None, Option("'PATTERN=FACTOR,...' of parameter paths: 'features/.*=0.1'")] = None
    freeze: Annotated[str | None, Option("what does not move, e.g. 'features/conv1,features/conv2'")] = None


@dataclasses.dataclass(frozen=True)
class ScheduleSection:
    """Which schedule of the learning rate; its options are its own."""

    name: Annotated[
        str, Option("constant | step | exponential | polynomial | cosine | half_cosine | one_cycle | plateau")
    ] = "cosine"


@dataclasses.dataclass(frozen=True)
class TrainSection:
    """How long is trained, and what is done meanwhile."""

    batch_size: Annotated[int, Option("clips per step, over all devices and processes", at_least=1)] = 32
    steps: Annotated[int | None, Option("length of the run: give steps or epochs", at_least=1)] = None
    epochs: Annotated[float | None, Option("likewise; an epoch is every training video once", above=0)] = None
    log_every: Annotated[int, Option("steps", at_least=1)] = 50
    validate_every: Annotated[int, Option("steps; 0: only at the end", at_least=0)] = 200
    validate_every_fraction: Annotated[
        float | None, Option("of the run, in place of the steps, e.g. 0.1: ten times", above=0, at_most=1)
    ] = None
    grad_accum_steps: Annotated[
        int | None,
        Option("parts of a batch, one after the other, to save memory; BatchNorm sees parts", at_least=1),
    ] = None
    ema_decay: Annotated[
        float | None,
        Option("decay per step of averaged weights, e.g. 0.999; None: none are kept", above=0, below=1),
    ] = None
    monitor: Annotated[
        str | None,
        Option("of validation, chooses the best; None: video_top1", words=("video_top1", "clip_top1", "loss")),
    ] = None
    early_stopping_patience: Annotated[
        int | None,
        Option("ends training after so many validations that do not beat the best", at_least=1),
    ] = None


@dataclasses.dataclass(frozen=True)
class BatchNormSection:
    """Over what batch normalisation normalises."""

    group_size: Annotated[
        int | None, Option("3D networks: examples that are normalised together; None: all", at_least=1)
    ] = None
    precise_batches: Annotated[
        int | None, Option("statistics anew over so many batches before an evaluation", at_least=1)
    ] = None


@dataclasses.dataclass(frozen=True)
class EvaluateSection:
    """What is tested, and how it is averaged."""

    clips: Annotated[int, Option("test clips per video, evenly spaced in time", at_least=1)] = 3
    crops: Annotated[
        str,
        Option(
            "three: along the long side; ten: corners and center, each also mirrored", words=("center", "three", "ten")
        ),
    ] = "center"
    crop: Annotated[int | None, Option("pixels: side of a view; None: preprocessing.crop", at_least=1)] = None
    flip: Annotated[bool, Option("each view mirrored, too")] = False
    average: Annotated[
        str, Option("over positions and views; lengths: of capsules", words=("probabilities", "logits", "lengths"))
    ] = "probabilities"
    batch_size: Annotated[int, Option("views per step, over all devices and processes", at_least=1)] = 32
    validation_clips: Annotated[int, Option("clips per video in validation", at_least=1)] = 1
    weights: Annotated[
        str | None,
        Option("best: by validation; None: ema if train.ema_decay, else last", words=("last", "ema", "best")),
    ] = None
    samples: Annotated[int, Option("test clips shown in the report", at_least=0)] = 16


@dataclasses.dataclass(frozen=True)
class CheckpointSection:
    """What is kept to go on from."""

    every: Annotated[int, Option("steps; one more at the end", at_least=1)] = 100
    keep: Annotated[int, Option("newest that stay on disk, beside the best by validation", at_least=1)] = 2


KINDS: dict[str, type[Any]] = {
    "": RootSection,
    "model": ModelSection,
    "data": DataSection,
    "preprocessing": PreprocessingSection,
    "loss": LossSection,
    "optimizer": OptimizerSection,
    "schedule": ScheduleSection,
    "train": TrainSection,
    "batch_norm": BatchNormSection,
    "evaluate": EvaluateSection,
    "checkpoint": CheckpointSection,
}
KEYS: dict[str, dict[str, OptionSpec]] = {section: declaring.declared_options(kind) for section, kind in KINDS.items()}


def new_config() -> ConfigDict:
    """A config with the keys of all sections at their defaults."""
    config = _fields(KEYS[""])
    for section, keys in KEYS.items():
        if section:
            config[section] = _fields(keys)
    return config


def set_field(config: ConfigDict, key: OptionSpec, value: Any) -> None:
    """Makes the field of a key, with its type; None: it was not given, and may be later."""
    if key.name in config:
        del config[key.name]
    config[key.name] = placeholder(key.field_type)
    if value is not None:
        config[key.name] = key.cast(value)


def of_choice(section: str, part: ConfigDict) -> dict[str, Any]:
    """What a section holds beside the keys that every run has: options of what is chosen, by name -> value or None."""
    return {name: value for name, value in part.items() if name not in KEYS[section]}


def _fields(keys: dict[str, OptionSpec]) -> ConfigDict:
    config = ConfigDict()
    for key in keys.values():
        if key.default is None or key.field_type is object:
            config[key.name] = FieldReference(key.default, field_type=key.field_type)
        else:
            config[key.name] = key.default
    return config
