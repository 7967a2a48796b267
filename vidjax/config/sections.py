"""The keys of a config that every run has, whatever it chooses: types, defaults, ranges and help, section by section.

A component that is chosen by name (a model, a source, a loss, an optimizer, a schedule) declares its own options, which
are added to these (`vidjax.config.declarations`). A key whose default is None was not given.
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

    name: Annotated[str, Option("name of the run; the default workdir is runs/<name>")] = "default"
    seed: Annotated[
        int,
        Option("seed for initialization, shuffling, clip sampling and augmentation", at_least=-(2**63), below=2**63),
    ] = 0
    dtype: Annotated[str, Option("compute dtype; parameters stay float32", choices=("float32", "bfloat16"))] = "float32"
    parallel: Annotated[
        str,
        Option(
            "jit: one device; pmap, sharded: several devices; the results are the same",
            choices=("auto", "jit", "pmap", "sharded"),
        ),
    ] = "auto"
    native_convolutions: Annotated[
        bool, Option("use XLA's own convolutions and pooling on CPUs, too (many times slower in 3D)")
    ] = False
    keep_memory: Annotated[
        bool, Option("keep freed memory in the process between steps (CPUs with glibc); avoids page faults")
    ] = True


@dataclasses.dataclass(frozen=True)
class ModelSection:
    """Which network is trained; the network declares its own options."""

    name: Annotated[
        str, Option("single_frame | early_fusion | late_fusion | slow_fusion | multires | c3d | ... docs/model_zoo.md")
    ] = "early_fusion"
    factory: Annotated[str | None, Option("custom model: 'my_package.my_module:build', instead of a name")] = None


@dataclasses.dataclass(frozen=True)
class DataSection:
    """The data source, which declares its own options; clip sampling; reading and caching."""

    name: Annotated[str, Option("motion | ucf101 | folder | csv | kinetics | hmdb51 | mnist | packed")] = "motion"
    factory: Annotated[str | None, Option("custom source: 'my_package.my_module:load', instead of a name")] = None

    inputs: Annotated[
        str | None,
        Option(
            "'rgb=flow' feeds stream flow to the model's input rgb ('flow' if it has one input); gray,"
            " difference and gradient are computed from rgb; None: by name"
        ),
    ] = None

    flow: Annotated[
        str | None,
        Option(
            "optical flow, computed once, as a stream of every video: dis_fast | dis_ultrafast | dis_medium | farneback"
            " | tvl1 | deepflow",
            choices=("dis_fast", "dis_ultrafast", "dis_medium", "farneback", "tvl1", "deepflow"),
        ),
    ] = None
    flow_short_side: Annotated[
        int | None, Option("pixels of the short side at which flow is computed (default: short_side)", at_least=16)
    ] = None
    flow_bound: Annotated[
        float | None, Option("pixels, at that size, of the largest displacement (default 20)", above=0)
    ] = None
    flow_percentile: Annotated[
        float | None,
        Option(
            "the largest displacement is this percentile of each video's own, e.g. 99.99, instead of flow_bound",
            above=0,
            at_most=100,
        ),
    ] = None
    flow_camera: Annotated[bool | None, Option("take the motion of the camera out of the flow")] = None

    pose: Annotated[
        str | None,
        Option("poses, found once, as a stream of every video: blazepose (33 joints)", choices=("blazepose",)),
    ] = None
    pose_factory: Annotated[
        str | None, Option("custom pose detector: 'my_package.my_module:build', instead of a name")
    ] = None

    frames: Annotated[int, Option("frames per clip (T)", at_least=1)] = 10
    sampling: Annotated[
        str | None,
        Option(
            "dense (default): fixed stride; segments: one frame from each of T segments", choices=("dense", "segments")
        ),
    ] = None
    stride: Annotated[
        int | None, Option("stride between the frames of a clip (default 1: every frame)", at_least=1)
    ] = None
    fps: Annotated[float | None, Option("frame rate of the clip, instead of a stride", above=0)] = None
    position: Annotated[
        str,
        Option("position of the clip; random: evenly spaced in testing", choices=("random", "first", "middle", "last")),
    ] = "random"
    balanced: Annotated[
        bool | None,
        Option("balanced sampling: an epoch shows equally many clips of every class, rare ones repeatedly"),
    ] = None
    training_views: Annotated[
        int | None,
        Option("training takes one of this many evenly spaced clips of a video (default: any clip)", at_least=1),
    ] = None
    frame_number: Annotated[int | None, Option("first frame of the clip (0-based), in training and testing")] = None
    resize: Annotated[
        str | None,
        Option(
            "default: short_side; letterbox pads with preprocessing.mean",
            choices=("short_side", "squash", "letterbox"),
        ),
    ] = None
    short_side: Annotated[
        int | None, Option("resize the short side to this many pixels (default: keep)", at_least=1)
    ] = None
    short_side_max: Annotated[
        int | None, Option("scale jitter in training: sample the short side from [short_side, this]", at_least=1)
    ] = None
    size: Annotated[int | None, Option("side of the square frame in pixels, for squash and letterbox", at_least=1)] = (
        None
    )
    crop: Annotated[int, Option("side in pixels of the square crop taken on the host", at_least=1)] = 56
    crop_position: Annotated[
        str,
        Option(
            "position of that crop in training; motion: in testing, too, around what moves by the network's flow",
            choices=("center", "random", "motion"),
        ),
    ] = "center"

    check: Annotated[bool | None, Option("inspect each file once before its first use (default: yes)")] = None
    max_bad_fraction: Annotated[
        float | None,
        Option(
            "maximum fraction of unreadable training videos (default 0.01; one is always allowed unless 0)",
            at_least=0,
            at_most=1,
        ),
    ] = None
    cache: Annotated[
        str, Option("cache decoded videos; disk keeps them for later runs", choices=("none", "memory", "disk"))
    ] = "memory"
    cache_gigabytes: Annotated[
        float, Option("cache size limit; videos beyond it are decoded on every access", at_least=0)
    ] = 4.0
    threads: Annotated[int, Option("number of reader threads", at_least=0)] = 2
    workers: Annotated[int, Option("number of reader processes; threads are faster on small machines", at_least=0)] = 0


@dataclasses.dataclass(frozen=True)
class PreprocessingSection:
    """Augmentation and normalization on the device."""

    crop: Annotated[
        int | None, Option("side in pixels of the crop the model sees: random in training, else center", at_least=1)
    ] = None
    flip: Annotated[
        bool, Option("random horizontal flip (p=0.5) in training; labels follow the source's flip rule")
    ] = False
    brightness: Annotated[
        float, Option("color jitter strength s: factor from U[1-s, 1+s] per clip; 0: off", at_least=0, at_most=1)
    ] = 0.0
    contrast: Annotated[float, Option("likewise", at_least=0, at_most=1)] = 0.0
    saturation: Annotated[float, Option("likewise", at_least=0, at_most=1)] = 0.0
    rotation: Annotated[
        float | None,
        Option(
            "random rotation: degrees from U[-r, r] per clip; keep small if direction matters", at_least=0, at_most=180
        ),
    ] = None
    zoom: Annotated[float | None, Option("random zoom: factor from U[1-z, 1+z] per clip", at_least=0, below=1)] = None
    shift: Annotated[
        float | None,
        Option("random shift: U[-s, s] of height and width, per clip", at_least=0, at_most=1),
    ] = None
    erasing: Annotated[
        float | None,
        Option("random erasing: probability of one rectangle, the same in all frames", at_least=0, at_most=1),
    ] = None
    erasing_area_min: Annotated[
        float | None, Option("smallest fraction of the frame that is erased (default 0.02)", above=0, at_most=1)
    ] = None
    erasing_area_max: Annotated[float | None, Option("largest fraction (default 0.4)", above=0, at_most=1)] = None
    erasing_aspect_min: Annotated[
        float | None, Option("height / width of the rectangle is from [a, 1/a] (default 0.3)", above=0, at_most=1)
    ] = None
    mixup: Annotated[
        float | None,
        Option("mixup alpha: mixing weight from Beta(alpha, alpha)", at_least=0),
    ] = None
    cutmix: Annotated[
        float | None,
        Option("CutMix alpha; with mixup, each pair uses one of the two", at_least=0),
    ] = None
    mean: Annotated[
        float | tuple[float, ...],
        Option("subtracted from pixel values 0..255: a scalar, or one per channel"),
    ] = 117.0
    std: Annotated[float | tuple[float, ...], Option("then divided by this: a scalar, or one per channel", above=0)] = (
        58.0
    )


@dataclasses.dataclass(frozen=True)
class LossSection:
    """Which loss is minimized; the loss declares its own options."""

    name: Annotated[str, Option("cross_entropy | margin (capsule lengths) | spread (capsule activations)")] = (
        "cross_entropy"
    )
    factory: Annotated[str | None, Option("custom loss: 'my_package.my_module:loss', instead of a name")] = None


@dataclasses.dataclass(frozen=True)
class WeightsSection:
    """The weights that training begins from, instead of random ones."""

    source: Annotated[
        str | None, Option("published weights by name (python -m vidjax weights list), a run directory or a file")
    ] = None
    skip: Annotated[str | None, Option("parameters not to take, e.g. 'classes,trunk/stage7' (paths as of freeze)")] = (
        None
    )
    inflate: Annotated[
        str | None,
        Option(
            "2D kernels over time: repeat (default; divided by T), or center (zero elsewhere)",
            choices=("repeat", "center"),
        ),
    ] = None


@dataclasses.dataclass(frozen=True)
class OptimizerSection:
    """The optimizer, which declares its own options, and what applies to every optimizer."""

    name: Annotated[str, Option("sgd | momentum | nesterov | rmsprop | adagrad | ... docs/running.md")] = "adamw"
    learning_rate: Annotated[
        float,
        Option(
            "peak learning rate; try about 1 for adadelta, 0.02 for muon, 0.01 for adafactor, 1e-4 for lion", at_least=0
        ),
    ] = 1e-3
    scale_with_batch: Annotated[
        str | None, Option("scale the rate with batch / base (linear) or its square root", choices=("linear", "sqrt"))
    ] = None
    base_batch_size: Annotated[int | None, Option("reference batch size of that rule (default 256)", at_least=1)] = None
    clip_norm: Annotated[float | None, Option("clip gradients to this global norm", above=0)] = None
    multipliers: Annotated[
        str | None, Option("learning rate multipliers 'PATTERN=FACTOR,...' by parameter path: 'features/.*=0.1'")
    ] = None
    freeze: Annotated[str | None, Option("parameters to freeze, e.g. 'features/conv1,features/conv2'")] = None
    train_only: Annotated[str | None, Option("freeze all other parameters, e.g. 'classes,trunk/stage7'")] = None


@dataclasses.dataclass(frozen=True)
class ScheduleSection:
    """The learning rate schedule, which declares its own options."""

    name: Annotated[
        str, Option("constant | step | exponential | polynomial | cosine | half_cosine | one_cycle | plateau")
    ] = "cosine"


@dataclasses.dataclass(frozen=True)
class TrainSection:
    """Training length, logging, validation and early stopping."""

    batch_size: Annotated[
        int, Option("global batch size: clips per step, over all devices and processes", at_least=1)
    ] = 32
    steps: Annotated[int | None, Option("length of the run in steps; or set epochs", at_least=1)] = None
    epochs: Annotated[
        float | None, Option("length of the run in epochs; an epoch is each training video once", above=0)
    ] = None
    log_every: Annotated[int, Option("log every N steps", at_least=1)] = 50
    validate_every: Annotated[int, Option("validate every N steps; 0: only at the end", at_least=0)] = 200
    validate_every_fraction: Annotated[
        float | None, Option("fraction of the run, instead of steps; 0.1: ten validations", above=0, at_most=1)
    ] = None
    grad_accum_steps: Annotated[
        int | None,
        Option("gradient accumulation: microbatches per step; BatchNorm sees one at a time", at_least=1),
    ] = None
    ema_decay: Annotated[
        float | None,
        Option("EMA decay of the weights per step, e.g. 0.999 (default: no EMA)", above=0, below=1),
    ] = None
    features_once: Annotated[
        bool | None,
        Option("compute the features of frozen layers once per clip, and train the rest on them; needs training_views"),
    ] = None
    monitor: Annotated[
        str | None,
        Option(
            "validation metric for the best checkpoint (default: video_top1)",
            choices=("video_top1", "clip_top1", "mean_class_accuracy", "loss"),
        ),
    ] = None
    early_stopping_patience: Annotated[
        int | None,
        Option("early stopping: validations without improvement before training stops", at_least=1),
    ] = None


@dataclasses.dataclass(frozen=True)
class BatchNormSection:
    """Batch normalization statistics."""

    group_size: Annotated[
        int | None, Option("3D networks: examples normalized together (default: all)", at_least=1)
    ] = None
    frozen: Annotated[
        str | None,
        Option(
            "frozen layers in training: by statistics of the batch (default), or running ones, as in evaluation",
            choices=("batch", "running"),
        ),
    ] = None
    precise_batches: Annotated[
        int | None, Option("precise BN: recompute statistics over this many batches before evaluation", at_least=1)
    ] = None


@dataclasses.dataclass(frozen=True)
class EvaluateSection:
    """Test-time views and score averaging."""

    clips: Annotated[int, Option("test clips per video, evenly spaced in time", at_least=1)] = 3
    crops: Annotated[
        str,
        Option(
            "three: along the long side; ten: corners and center, each also flipped", choices=("center", "three", "ten")
        ),
    ] = "center"
    crop: Annotated[int | None, Option("side of a view in pixels (default: preprocessing.crop)", at_least=1)] = None
    flip: Annotated[bool, Option("also evaluate each view flipped")] = False
    average: Annotated[
        str,
        Option(
            "what is averaged over positions and views; lengths is for capsules",
            choices=("probabilities", "logits", "lengths"),
        ),
    ] = "probabilities"
    batch_size: Annotated[int, Option("views per step, over all devices and processes", at_least=1)] = 32
    validation_clips: Annotated[int, Option("clips per video in validation", at_least=1)] = 1
    shuffled: Annotated[
        bool | None, Option("also score the test clips with their frames in random order (shuffled_top1)")
    ] = None
    all_parts: Annotated[
        bool | None, Option("also store the scores of the training and validation videos (for vidjax ensemble --svm)")
    ] = None
    weights: Annotated[
        str | None,
        Option("best: by validation; default: ema with train.ema_decay, else last", choices=("last", "ema", "best")),
    ] = None
    samples: Annotated[int, Option("number of test clips shown in the report", at_least=0)] = 16
    explanations: Annotated[
        int, Option("confident mistakes that the report explains by Grad-CAM", at_least=0, at_most=16)
    ] = 2


@dataclasses.dataclass(frozen=True)
class CheckpointSection:
    """Checkpointing."""

    every: Annotated[int, Option("save every N steps, and at the end", at_least=1)] = 100
    keep: Annotated[int, Option("number of most recent checkpoints to keep, besides the best", at_least=1)] = 2


KINDS: dict[str, type[Any]] = {
    "": RootSection,
    "model": ModelSection,
    "data": DataSection,
    "preprocessing": PreprocessingSection,
    "loss": LossSection,
    "weights": WeightsSection,
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
    """Creates the typed field of a key; a value of None means that it was not given, and it may be set later."""
    if key.name in config:
        del config[key.name]
    config[key.name] = placeholder(key.field_type)
    if value is not None:
        config[key.name] = key.cast(value)


def of_choice(section: str, part: ConfigDict) -> dict[str, Any]:
    """Returns the options of the chosen component in a section: name -> value, or None if it was not given."""
    return {name: value for name, value in part.items() if name not in KEYS[section]}


def _fields(keys: dict[str, OptionSpec]) -> ConfigDict:
    config = ConfigDict()
    for key in keys.values():
        if key.default is None or key.field_type is object:
            config[key.name] = FieldReference(key.default, field_type=key.field_type)
        else:
            config[key.name] = key.default
    return config
