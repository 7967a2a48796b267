"""The recipe of `configs/pretrained.py` and `configs/finetune.py`: networks that begin from published weights.

Every form of fusion sees the same number of frames of a video in testing (`FRAMES`), and in training, too, where the
layers before the features are frozen. Otherwise training clips of the same length are drawn from the whole video:

    network     single_frame      early           late                      slow
    images      20 frames         2 clips of 10   10 pairs, 15 apart        2 clips of 10
    I3D         20 still clips    2 clips of 10   1 pair of clips of 10     1 clip of 20
"""

import dataclasses

from ml_collections import ConfigDict

REGIMES = ("linear", "attention_pooler", "top", "top3", "fusion", "all", "scratch")
RECURRENT_REGIMES = ("linear", "top", "top3", "all", "scratch")
FROZEN = ("linear", "attention_pooler")  # regimes in which no layer before the features is trained
FUSIONS = ("single_frame", "early", "late", "slow")
FRAMES = 20  # of each video
_PAIR = 15  # frames between the two of late fusion (Karpathy et al. 2014, section 4.1)
_LEFT_OUT = {"vgg19": ("fc6", "fc7")}  # layers before the classes that a mean over space replaces
_STRIDE = 2  # of clips of 10: 0.8 seconds at 25 frames per second


# Network -> published weights that it may begin from.
BACKBONES = {
    "efficientnet_lite0": "efficientnet-lite0-imagenet",
    "i3d": "i3d-kinetics400",
    "vgg19": "vgg19-imagenet",
    "mobilenet_v2": "mobilenet-v2-imagenet",
    "resnet50": "resnet50-imagenet",
    "inception_v3": "inception-v3-imagenet",
}


def pretrained_recipe(config: ConfigDict, backbone: str, fusion: str, regime: str, size: int = 224) -> None:
    """Sets a network, the weights that it begins from, what of it is trained, and the clips that it sees.

    Args:
      config: with a data preset.
      backbone: a key of `BACKBONES`.
      fusion: one of `FUSIONS`.
      regime: one of `REGIMES`; what is trained: `linear` the classifier, `attention_pooler` a pooler and the
        classifier, `top` and `top3` also the last stage or the last three, `fusion` the classifier and the convolutions
        that span time, `all` everything, `scratch` everything, from random weights.
      size: side of the square that the network sees, in pixels.
    """
    from vidjax.pretrained.catalog import CATALOG  # takes a second to import

    info = CATALOG[BACKBONES[backbone]]
    expected, trained = info.preprocessing, trained_layers(backbone, fusion, regime)
    is_frozen, is_video = regime in FROZEN or trained == trained_layers(backbone, fusion, "linear"), expected.frames > 1
    config.model.name = backbone
    config.model.fusion = fusion
    config.preprocessing.mean, config.preprocessing.std = _common(expected.mean), _common(expected.std)
    if regime != "scratch":
        config.weights.source = info.name
        skipped = _LEFT_OUT.get(backbone, ()) + (("pooler",) if regime == "attention_pooler" else ())
        config.weights.skip = ",".join(skipped) or None
    if trained is not None:
        config.optimizer.train_only = ",".join(trained)
        config.batch_norm.frozen = "running"
    if regime == "attention_pooler":
        config.model.pooling = "attention"
        if fusion == "single_frame" or (fusion == "late" and not is_video):
            config.model.frames = _CLIPS[is_video][fusion].frames
    config.loss.average = "logits" if is_video else None
    config.evaluate.average = expected.average
    _clips(config, _CLIPS[is_video][fusion], is_frozen=is_frozen)
    _sizes(config, size, is_frozen=is_frozen)
    config.train.features_once = True if is_frozen else None
    config.evaluate.batch_size = 2 if is_video else 8
    config.train.batch_size = 16
    config.train.validate_every_fraction = 0.25
    config.train.epochs, config.train.steps = None, 100 if regime == "scratch" else 300
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 3e-4 if regime == "scratch" else 3e-3  # at 3e-3 a random VGG19 diverges
    if not is_frozen:  # the classifier begins at random, all else is trained already
        layers = "(Conv3d|Mixed).*" if is_video else "trunk"
        config.optimizer.multipliers = None if regime == "scratch" else f"{layers}=0.1"


def recurrent_recipe(config: ConfigDict, backbone: str, regime: str, *, has_cells: bool = True) -> None:
    """Sets `cnn_lstm` on a published image network: one clip of 10 frames that spans a video.

    Args:
      config: with a data preset.
      backbone: a key of `BACKBONES`, of an image network.
      regime: one of `RECURRENT_REGIMES`; what is trained besides the recurrent layers: `linear` the classifier, and so
        on, as in `pretrained_recipe`.
      has_cells: whether there are recurrent layers, and not the maximum over time.
    """
    own = ("recurrent",) if has_cells else ()
    pretrained_recipe(config, backbone, "single_frame", regime)
    config.model.name, config.model.backbone, config.model.fusion = "cnn_lstm", backbone, None
    config.model.dropout = 0.5
    if regime != "scratch":
        config.weights.skip = ",".join((*_LEFT_OUT.get(backbone, ()), *own)) or None
    if config.optimizer.train_only is not None:
        config.optimizer.train_only = ",".join((config.optimizer.train_only, *own))
    is_frozen = regime in FROZEN
    _clips(config, _Clips(10, 1), is_frozen=is_frozen)
    config.data.sampling = "segments"
    config.data.training_views = 4 if is_frozen else None
    config.optimizer.learning_rate = 1e-3 if is_frozen else 3e-4
    config.train.batch_size = 16 if is_frozen else 4


def finetuning_recipe(config: ConfigDict, backbone: str, regime: str) -> None:
    """Sets a network for a user's own videos: its own form of fusion, and clips as it was trained on.

    Args:
      config: with a data preset.
      backbone: a key of `BACKBONES`.
      regime: as in `pretrained_recipe`.
    """
    fusion = native_fusion(backbone)
    pretrained_recipe(config, backbone, fusion, regime)
    is_frozen, is_video = regime in FROZEN, fusion == "slow"
    _clips(config, _Clips(64, 1, fps=25.0) if is_video else _Clips(1, 10), is_frozen=is_frozen)
    config.loss.class_weights = "balanced"
    config.train.monitor = "mean_class_accuracy"
    config.data.max_bad_fraction = 0.1  # unreadable videos are named, and the others used
    if not is_frozen:
        config.train.batch_size = 4 if is_video else 16


def native_fusion(backbone: str) -> str:
    """The form of fusion of a network as it was published."""
    return "slow" if backbone == "i3d" else "single_frame"


def trained_layers(backbone: str, fusion: str, regime: str) -> tuple[str, ...] | None:
    """The layers that a regime trains, as patterns of parameter paths; None: all.

    A network for videos fuses time in all its layers, so `fusion` trains its classifier alone.
    """
    from vidjax.models import parts_of  # takes a second to import

    if regime in ("all", "scratch"):
        return None
    parts = parts_of(backbone, fusion)
    more = {
        "linear": (),
        "attention_pooler": ("pooler",),
        "top": parts.stages[-1:],
        "top3": parts.stages[-3:],
        "fusion": parts.temporal,
    }
    return (parts.classifier, *more[regime])


@dataclasses.dataclass(frozen=True)
class _Clips:
    """Frames of a clip, their distance (a stride, or the rate of the network), and clips of a video."""

    frames: int
    views: int
    stride: int | None = None
    fps: float | None = None


_CLIPS = {
    False: {
        "single_frame": _Clips(1, FRAMES),
        "early": _Clips(10, FRAMES // 10, stride=_STRIDE),
        "late": _Clips(2, FRAMES // 2, stride=_PAIR),
        "slow": _Clips(10, FRAMES // 10, stride=_STRIDE),
    },
    True: {
        "single_frame": _Clips(1, FRAMES),
        "early": _Clips(10, FRAMES // 10, fps=25.0),
        "late": _Clips(10 + _PAIR, FRAMES // 20, fps=25.0),
        "slow": _Clips(20, FRAMES // 20, fps=25.0),
    },
}


def _clips(config: ConfigDict, clips: _Clips, *, is_frozen: bool) -> None:
    config.data.frames, config.data.stride, config.data.fps = clips.frames, clips.stride, clips.fps
    config.data.training_views = clips.views if is_frozen else None
    config.evaluate.clips = config.evaluate.validation_clips = clips.views
    config.evaluate.crops, config.evaluate.flip = "center", False


def _sizes(config: ConfigDict, size: int, *, is_frozen: bool) -> None:
    """The center of every clip for frozen layers, else random crops; 256 -> 224 pixels."""
    short_side = round(size * 8 / 7)
    config.data.resize = config.data.size = None
    config.data.short_side, config.data.short_side_max = short_side, None
    config.data.crop, config.preprocessing.crop = (size, None) if is_frozen else (short_side, size)
    if is_frozen:
        config.preprocessing.flip = False
        config.preprocessing.brightness = config.preprocessing.contrast = config.preprocessing.saturation = 0.0
        config.data.cache = "none"  # each clip is read once


def _common(channels: tuple[float, ...]) -> float | tuple[float, ...]:
    """One number where all channels have the same."""
    return channels[0] if len(set(channels)) == 1 else channels
