"""A trained network with all that it takes to apply it: from a run directory, or published weights by name."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
from ml_collections import ConfigDict

from vidjax import models, pretrained
from vidjax.config import building, data, data_card, declarations, sections
from vidjax.config.stored import load_stored, read_stored
from vidjax.data.clips import ClipSpec
from vidjax.data.computed import Computation
from vidjax.data.flip_rule import FlipRule
from vidjax.data.inputs import RGB, Input
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError, DataError, options_of
from vidjax.evaluation.result import Result
from vidjax.evaluation.scores import AVERAGES
from vidjax.options.suggestions import did_you_mean
from vidjax.preprocessing.pipeline import Preprocessing
from vidjax.pretrained import hub
from vidjax.system import files
from vidjax.training import weights
from vidjax.training.state import Variables, initial_variables

_IMAGE_CLIPS = 10  # single frames of a video that are averaged for a network of images
_PUBLISHED_BATCH = 4  # clips at once: published networks are large


@dataclasses.dataclass(frozen=True)
class TrainedNetwork:
    """A network, its weights, and what its inputs are.

    Attributes:
      name: of the published weights, or the path of the run directory.
      module: a model of `vidjax.models`, or a user's.
      variables: {"params": ..., "batch_stats": ...}, NumPy arrays.
      classes: K names, in label order.
      inputs: of the model: what is read, for each of its arguments.
      clip: what is cut from a video.
      views: of a video, whose scores are averaged.
      preprocessing: of a batch, on the device (`Preprocessing.evaluation`).
      average: what is averaged over positions and views, a key of `evaluation.scores.AVERAGES`.
      mirror: the rule for horizontal flips, by which the scores of mirrored views are read.
      batch_size: views that an evaluation scores at once.
      native_convolutions: of `config.native_convolutions`.
      step: training steps after which the weights were saved; None for published ones.
      weights: which of the run's weights, of `training.weights.WEIGHTS`; "published".
      computations: streams that are computed from a video's pictures, such as flow.
      published: of published weights, where they come from and how their authors test them; None for a run.
      notes: what the user should know, one line each.
    """

    name: str
    module: nn.Module
    variables: dict[str, Any]
    classes: tuple[str, ...]
    inputs: tuple[Input, ...]
    clip: ClipSpec
    views: ViewSpec
    preprocessing: Preprocessing
    average: str
    mirror: FlipRule = None
    batch_size: int = 32
    native_convolutions: bool = False
    step: int | None = None
    weights: str = "published"
    computations: tuple[Computation, ...] = ()
    published: pretrained.Info | None = None
    notes: tuple[str, ...] = ()

    @property
    def side(self) -> int:
        """Side, in pixels, of the images that the model sees."""
        return self.preprocessing.evaluation_crop or self.preprocessing.crop or self.clip.crop

    @property
    def sees_whole_videos(self) -> bool:
        """Whether it is tested on all frames of a video at once, as published networks of videos are."""
        info = self.published
        return info is not None and info.views is None and info.preprocessing.frames > 1

    def specs(self, batch: Any = 1) -> dict[str, jax.ShapeDtypeStruct]:
        """Name -> shape and dtype of a batch of each argument of the model, as `preprocessing` gives them.

        Args:
          batch: B; a symbolic dimension of `jax.export` will do.
        """
        return models.accepted_arguments(self.module, self.preprocessing.specs(self.clip.frames, self.side, batch))

    def apply(self, variables: Any, inputs: Mapping[str, Any]) -> models.Output:
        """The output of the model in evaluation, for inputs as `preprocessing` gives them; a pure function."""
        output: models.Output = models.apply(self.module, variables, {**inputs, "train": False})
        return output

    def scores(self, variables: Any, inputs: Mapping[str, Any]) -> jax.Array:
        """Float [B, K]: the averaged rule's scores, for `evaluation.scores.average_views`; a pure function."""
        return AVERAGES[self.average](self.apply(variables, inputs).logits)


def load_network(source: str | Path, overrides: Mapping[str, Any] | None = None) -> TrainedNetwork:
    """Loads a trained network; the data that it was trained on are not needed.

    Args:
      source: a run directory, wherever it lies now, the name of published weights (`pretrained.CATALOG`), or what
        `python -m vidjax weights export` wrote: the folder, its file, or "hf:USER/REPO". A folder takes precedence over
        a name.
      overrides: for a run: "evaluate.KEY" -> value, the views and the weights that are used, and "model.factory" or
        "data.pose_factory" -> value, which must be typed again since they are code.

    Raises:
      ConfigError: for an unknown name, an unknown key, or one that is not about the evaluation.
      DataError: if a file of the run is missing.
      VidjaxError: if the checkpoint does not fit.
    """
    folder = Path(source).expanduser()
    exported = folder / "model.safetensors" if folder.is_dir() else folder
    if folder.is_dir() and not exported.is_file():
        return _from_run(folder, dict(overrides or {}))
    name = str(exported) if exported.is_file() else str(source)
    if name not in pretrained.CATALOG and not exported.is_file() and not hub.is_address(name):
        close = did_you_mean(str(source), pretrained.CATALOG)
        raise ConfigError(
            f"{str(source)!r} is neither a run directory nor the name of published weights{close}"
            f" (known: {', '.join(sorted(pretrained.CATALOG))})"
        )
    if overrides:
        raise ConfigError(f"{source}: published weights take no config keys ({', '.join(overrides)})")
    return published(pretrained.load(name))


def published(network: pretrained.Pretrained) -> TrainedNetwork:
    """A network with published weights.

    One for images sees 10 evenly spaced frames of a video. One for videos sees a clip as long as in its training
    wherever a clip is asked for; its authors test it on whole videos (`pretrained.video_classifier`).
    """
    module, variables, info = network
    expected = info.preprocessing
    name = models.input_names(module)[0]
    inputs = (RGB if name == RGB.name else dataclasses.replace(RGB, name=name, stream=RGB.name),)
    clip = info.clip or ClipSpec(
        frames=expected.frames,
        fps=expected.fps if expected.frames > 1 else None,
        short_side=expected.short_side,
        crop=expected.crop,
    )
    return TrainedNetwork(
        name=info.name,
        module=module,
        variables=variables,
        classes=info.classes,
        inputs=inputs,
        clip=clip,
        views=info.views or ViewSpec(_IMAGE_CLIPS if expected.frames == 1 else 1),
        preprocessing=Preprocessing(
            mean=expected.mean, std=expected.std, evaluation_crop=expected.crop, mirror=info.mirror, inputs=inputs
        ),
        mirror=info.mirror,
        average=expected.average,
        batch_size=_PUBLISHED_BATCH,
        published=info,
    )


def _from_run(folder: Path, overrides: dict[str, Any]) -> TrainedNetwork:
    stored = read_stored(folder)
    if stored is None:
        raise DataError(f"{folder}: no config.json, so it is no run directory")
    code = ("model.factory", "data.pose_factory")
    other = [key for key in overrides if key not in code and not key.startswith("evaluate.")]
    if other:
        raise ConfigError(
            f"{other[0]} belongs to the training: only evaluate.KEY may be given for a trained network", other
        )
    config = load_stored(_without_training(stored), overrides)
    declarations.declare_all(config)
    card, result = files.read_json(folder / "data.json") or {}, Result.read(folder / "result.json")
    classes = card.get("classes") or (result.classes if result is not None else None)
    if not classes:
        raise DataError(f"{folder}: neither data.json nor result.json has the names of the classes; evaluate the run")
    module = building.model(config, len(classes))
    inputs = building.inputs_of(config, data_card.read_inputs(card), card.get("name", "its source"), module)
    mirror = tuple(card["mirror"]) if isinstance(card.get("mirror"), list) else card.get("mirror")
    config.preprocessing.flip = False  # of training, and refused where an older data.json lacks the rule
    preprocessing = building.preprocessing(config.preprocessing, mirror, inputs, config.evaluate.crop)
    clip, views = data.clip(config), data.test_views(config)
    if views.mirrored and mirror is None:
        raise ConfigError(
            f"{folder}: data.json lacks the rule for mirror images, which these views need: set evaluate.flip=False and"
            " evaluate.crops=center",
            ["evaluate.flip", "evaluate.crops"],
        )
    crop = config.evaluate.crop
    if views.side is None and crop is not None and crop > clip.crop:
        raise ConfigError(
            f"evaluate.crop={crop} is larger than data.crop={clip.crop}, which it is cut from: give at most that, or"
            " evaluate.crops=three, which are cut from the whole frame",
            ["evaluate.crop"],
        )
    streams = {each.stream_name for each in inputs}
    name = config.evaluate.weights
    if name is None:
        name = "ema" if config.train.ema_decay is not None else "last"
    if "evaluate.weights" not in overrides and result is not None and result.weights:
        name = result.weights
    network = TrainedNetwork(
        name=str(folder),
        module=module,
        variables={},
        classes=tuple(classes),
        inputs=inputs,
        clip=clip,
        views=views,
        preprocessing=preprocessing,
        average=config.evaluate.average,
        mirror=mirror,
        batch_size=config.evaluate.batch_size,
        native_convolutions=config.native_convolutions,
        weights=name,
        computations=tuple(each for each in data.computations(config) if each.NAME in streams),
        notes=tuple(_notes(config)),
    )
    with options_of("evaluate"):
        found, step = weights.read(name, folder, _abstract(network, config))
    return dataclasses.replace(network, variables={"params": found.params, **found.model_state}, step=step)


def _without_training(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The stored config without what only training needs: data source, loss, optimizer and schedule, or their code."""
    kept: dict[str, Any] = {}
    for key, value in stored.items():
        if key in ("loss", "optimizer", "schedule"):
            continue
        own = sections.KEYS["data"].keys() - {"name", "factory"}
        kept[key] = {name: each for name, each in value.items() if name in own} if key == "data" else value
    return kept


def _abstract(network: TrainedNetwork, config: ConfigDict) -> Variables:
    """The weights' shapes and dtypes; the views may be of another size than the clips of training."""
    side = network.preprocessing.crop or network.clip.crop
    specs = models.accepted_arguments(network.module, network.preprocessing.specs(network.clip.frames, side, 1))
    shapes = dict(jax.eval_shape(lambda: initial_variables(network.module, specs, config.seed)))
    return Variables(shapes.pop("params", {}), shapes)


def _notes(config: ConfigDict) -> list[str]:
    count = config.batch_norm.precise_batches
    if not count:
        return []
    return [
        f"the run's result was computed with statistics of batch normalization over {count} batches of training clips"
        " (batch_norm.precise_batches), which no file keeps: these are the running ones, so scores may differ a little"
    ]
