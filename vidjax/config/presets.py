"""Data presets and training recipes: what the config files are built from.

`configs/default.py` describes the data presets and the argument of a config file. The keys of every run
are declared in `vidjax.config.sections`; models, sources, losses, optimizers and schedules declare their own options.
"""

from types import SimpleNamespace

from ml_collections import ConfigDict

from vidjax.config import sections

PRESETS = ("motion", "motion_hard", "ucf101", "ucf101_small", "folder", "kinetics")


def get_config(preset: str = "motion") -> ConfigDict:
    """Returns the config of early fusion on a data preset, which other configs modify."""
    config = data_config(preset)
    fusion_recipe(config, preset or "motion")
    spaced_frames(config, preset or "motion")
    return config


def data_config(preset: str = "motion") -> ConfigDict:
    """Returns a config with every key and a data preset; recipes add how a network is trained on it."""
    config = sections.new_config()
    _DATA[preset or "motion"](config)
    return config


def name_of(system: str, chosen: SimpleNamespace) -> str:
    """Returns the name of a run, e.g. "late_fusion-ucf101-fuse_at=scores".

    Args:
      system: the name of the config.
      chosen: its argument (`parse_argument`); default values are left out.
    """
    preset = [] if chosen.preset == "motion" else [chosen.preset]
    return "-".join([system, *preset, *(f"{key}={str(getattr(chosen, key)).lower()}" for key in chosen.changed)])


# ------------------------------------------------------------------------------ data presets: source, sizes, cache


def _motion(config: ConfigDict) -> None:
    config.preprocessing.crop = 48


def _motion_hard(config: ConfigDict) -> None:
    _motion(config)
    config.data.level = "hard"


def _ucf101(config: ConfigDict) -> None:
    """200 -> 170 pixels, flips (Karpathy et al. 2014, section 4.1)."""
    config.data.name = "ucf101"
    config.data.short_side = 200
    config.data.crop = 200
    config.data.cache = "none"
    config.data.threads = 8
    config.preprocessing.crop = 170
    config.preprocessing.flip = True
    config.preprocessing.std = 1.0


def _small_video(config: ConfigDict) -> None:
    """64 -> 56 pixels: real clips on 2 cores."""
    config.data.short_side = 64
    config.data.crop = 64
    config.preprocessing.crop = 56
    config.preprocessing.brightness = config.preprocessing.contrast = config.preprocessing.saturation = 0.3


def _ucf101_small(config: ConfigDict) -> None:
    _small_video(config)
    config.data.name = "ucf101"
    config.preprocessing.flip = True


def _folder(config: ConfigDict) -> None:
    _small_video(config)
    config.data.name = "folder"


def _kinetics(config: ConfigDict) -> None:
    """256 -> 224 pixels."""
    config.data.name = "kinetics"
    config.data.validation = 0.02
    config.data.short_side = 256
    config.data.crop = 256
    config.data.crop_position = "random"
    config.data.cache = "none"
    config.data.threads = 16
    config.preprocessing.crop = 224
    config.preprocessing.flip = True
    config.preprocessing.mean = 114.75  # 0.45
    config.preprocessing.std = 57.375  # 0.225


def _mnist(config: ConfigDict) -> None:
    """28 x 28 pixels in 0..1, shifts of up to 2 pixels: for networks on digits, not for videos."""
    config.data.name = "mnist"
    config.data.frames = 1
    config.data.short_side = 28
    config.data.crop = 28
    config.preprocessing.mean = 0.0
    config.preprocessing.std = 255.0
    config.preprocessing.shift = 2 / 28


_DATA = {
    "motion": _motion,
    "motion_hard": _motion_hard,
    "ucf101": _ucf101,
    "ucf101_small": _ucf101_small,
    "folder": _folder,
    "kinetics": _kinetics,
    "mnist": _mnist,
}
MOTION = ("motion", "motion_hard")
LARGE = ("ucf101", "kinetics")  # data sets at the papers' sizes

# -------------------------------------------------------------- recipes: how a kind of network is trained on them


def fusion_recipe(config: ConfigDict, preset: str) -> None:
    """The fusion networks: batch normalization, AdamW and a quarter of the width on small machines.

    On `ucf101` the paper's: response normalization and SGD with momentum (Karpathy et al. 2014, section 4.1). On
    `kinetics` the network's own defaults and SlowFast's recipe.
    """
    length_and_views(config, preset)
    if preset in MOTION:
        _network(config, "batch", 0.25, 0.2)
    elif preset == "ucf101":
        _network(config, "lrn", 1.0, 0.5)
    elif preset == "kinetics":
        slowfast_recipe(config)
    elif preset != "mnist":
        _network(config, "batch", 0.25, 0.5)


def _network(config: ConfigDict, normalization: str, width_multiplier: float, dropout: float) -> None:
    config.model.normalization = normalization
    config.model.width_multiplier = width_multiplier
    config.model.dropout = dropout


def spaced_frames(config: ConfigDict, preset: str) -> None:
    """Clips of 10 frames that show a motion of `motion`, or both of `motion_hard`."""
    if preset in MOTION:
        config.data.stride = {"motion": 2, "motion_hard": 6}[preset]


def single_frame_clips(config: ConfigDict, preset: str) -> None:
    """One frame in training; the scores of at least 10 frames of a video are averaged in testing."""
    config.data.frames = 1
    config.evaluate.clips = max(10, config.evaluate.clips)
    config.evaluate.validation_clips = 10


def frame_pairs(config: ConfigDict, preset: str) -> None:
    """Two frames, 15 apart, whatever the data (Karpathy et al. 2014, section 4.1)."""
    config.data.frames = 2
    config.data.stride = 15


def small_3d_recipe(config: ConfigDict, preset: str, *, has_dropout: bool = True) -> None:
    """3D networks on small machines: AdamW; on `motion` 16 frames see a whole clip, and fewer clips make a step."""
    length_and_views(config, preset)
    if preset != "mnist":
        config.data.frames = 16
    if preset in MOTION:
        config.data.stride = 4 if preset == "motion_hard" else 1
        config.train.batch_size = 16
        config.train.steps = 1500
    if has_dropout:
        config.model.dropout = 0.2 if preset in MOTION else 0.5


def length_and_views(config: ConfigDict, preset: str) -> None:
    """Training length on a data set, and test clips per video."""
    train, evaluate = config.train, config.evaluate
    if preset in MOTION:
        config.schedule.warmup_fraction = 0.05
        train.steps = 1000 if preset == "motion_hard" else 700
        evaluate.clips = 4 if preset == "motion_hard" else 3
    elif preset in ("ucf101_small", "folder"):
        config.schedule.warmup_fraction = 0.05
        train.validate_every = 100
        evaluate.clips = 10
        if preset == "folder":
            train.epochs = 30.0  # with many more, a hundred clips are learned by heart
            train.log_every = 10
            train.validate_every_fraction = 0.1
        else:
            train.steps = 300  # overfit a hundred clips; for all of UCF101 raise train.epochs and data.cache_gigabytes
    elif preset == "ucf101":
        config.optimizer.name = "momentum"
        config.optimizer.learning_rate = 1e-3
        config.optimizer.momentum = 0.9
        config.optimizer.l2 = 5e-4
        train.epochs = 100.0
        train.validate_every = 1000
        evaluate.clips = 20
        evaluate.flip = True
        config.checkpoint.every = 1000
    elif preset == "kinetics":
        config.optimizer.l2 = 1e-4
        train.batch_size = 64
        train.validate_every = 5000
        evaluate.clips = 10
        config.checkpoint.every = 2000
    elif preset == "mnist":
        config.optimizer.name = "adam"
        config.schedule.warmup_fraction = 0.02
        train.batch_size = 128
        train.epochs = 30.0
        train.validate_every = 250
        evaluate.clips = 1
        evaluate.batch_size = 100


def few_frames_in_turn(config: ConfigDict, preset: str, *, has_cells: bool = True) -> None:
    """Recurrent networks on `motion`: 4 frames that span a clip, and no dense layer on the features of a frame.

    With that layer (fc6) and 10 frames an LSTM learned the training clips by heart: 11% of the test videos.

    Args:
      config: with a data preset.
      preset: its name.
      has_cells: whether there are recurrent layers, and not the maximum over time, which sees the same.
    """
    if preset in MOTION:
        config.data.frames, config.data.stride = (4, 5) if preset == "motion" else (10, 6)
        config.model.units = 0
        config.train.steps = 1000
        if has_cells:
            config.model.hidden = 512
            config.model.layers = 2


def two_stream_recipe(config: ConfigDict) -> None:
    """Simonyan & Zisserman 2014, section 5: 80,000 steps of 256 clips, and 25 clips x 10 crops of 224 pixels."""
    config.data.short_side = 256
    config.data.crop = 256
    config.data.crop_position = "random"
    config.preprocessing.crop = 224
    config.optimizer.learning_rate = 1e-2
    config.schedule.name = "step"
    config.schedule.boundaries = (0.625, 0.875)
    config.train.batch_size = 256
    config.train.epochs, config.train.steps = None, 80_000
    config.model.dropout = 0.9
    config.evaluate.clips = 25
    config.evaluate.crops, config.evaluate.flip = "ten", False  # mirror images are among the crops


def pose_recipe(config: ConfigDict) -> None:
    """Networks on poses: 32 frames that span a video, of whatever size."""
    config.data.pose = "blazepose"
    config.data.frames, config.data.sampling = 32, "segments"
    config.data.short_side = None
    config.preprocessing.brightness = config.preprocessing.contrast = config.preprocessing.saturation = 0.0
    config.preprocessing.crop = None
    config.model.dropout = 0.5
    config.optimizer.learning_rate = 2.5e-3
    config.train.batch_size = 16
    config.evaluate.clips = 1


def slowfast_recipe(config: ConfigDict) -> None:
    """Feichtenhofer et al. 2019, sections 3.4 and 4: schedule, short sides of 256 to 320, and views."""
    slowfast_schedule(config)
    slowfast_views(config)
    config.data.short_side_max = 320


def slowfast_schedule(config: ConfigDict) -> None:
    """Feichtenhofer et al. 2019, section 3.4: from scratch, half a cosine over 196 epochs."""
    config.optimizer.name = "nesterov"
    config.optimizer.learning_rate = 0.1
    config.optimizer.scale_with_batch = "linear"
    config.optimizer.base_batch_size = 64
    config.schedule.name = "half_cosine"
    config.schedule.warmup_epochs = 34.0
    config.schedule.warmup_from = 0.01
    config.train.epochs = 196.0


def slowfast_views(config: ConfigDict) -> None:
    """Feichtenhofer et al. 2019, section 4: three crops of 256 pixels of each clip."""
    config.evaluate.crops = "three"
    config.evaluate.crop = 256
