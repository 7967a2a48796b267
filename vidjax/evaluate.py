"""Evaluation: from a training state to predictions, a result and a report."""

import collections
import contextlib
import dataclasses
import datetime
import functools
import importlib.metadata
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from vidjax import models
from vidjax.config import data, data_card, flat, identity, validation
from vidjax.config.overrides import command_line
from vidjax.config.preparation import prepare
from vidjax.config.run import Run
from vidjax.config.stored import load_stored, read_stored
from vidjax.data.inputs import Input
from vidjax.data.pipeline import evaluation_batches
from vidjax.data.records import Batch, Video
from vidjax.data.views import ViewSpec
from vidjax.errors import DataError, DifferentRunError, DivergedError, VidjaxError, options_of, printable
from vidjax.evaluation import grad_cam, metrics, samples
from vidjax.evaluation.predictions import PredictionsFile
from vidjax.evaluation.result import Result
from vidjax.evaluation.view_scores import ViewScores
from vidjax.inference import features
from vidjax.layers.convolution import native_operations
from vidjax.reporting import learning_curves, pictures, tables
from vidjax.system import devices, files, provenance, terminal
from vidjax.training import losses, metrics_line, weights
from vidjax.training.checkpoints import Checkpoints
from vidjax.training.compiler_options import CPU_OPTIONS, accepted_options
from vidjax.training.state import TrainState

# Prefixes of the keys that may differ between training and evaluation, since they do not affect the weights.
_EVALUATION_KEYS = ("evaluate.", "parallel:", "train.validate_every:", "train.validate_every_fraction:")
_DRAWING_SCALE = 2  # pixels on the page per pixel of a reconstruction


def stored_config(workdir: Path, overrides: Mapping[str, str]) -> ConfigDict:
    """The config that a run was trained with, with overrides for its evaluation.

    Args:
      workdir: the run directory.
      overrides: dotted config key -> value as text.

    Raises:
      VidjaxError: if there is no run.
      ConfigError: for an unknown key or an invalid value.
    """
    stored = read_stored(workdir)
    if stored is None:
        raise VidjaxError(f"{workdir}: no config.json, so there is no run to evaluate; pass the --workdir of a run")
    return load_stored(stored, overrides)


@contextlib.contextmanager
def divergence_hint() -> Iterator[None]:
    """Adds the keys that may help to a `DivergedError`.

    Raises:
      DivergedError: with the advice.
    """
    try:
        yield
    except DivergedError as error:
        raise DivergedError(f"{error}; lower optimizer.learning_rate or set optimizer.clip_norm") from error


@divergence_hint()
def evaluate(config: ConfigDict, workdir: Path) -> Result:
    """Evaluates the latest checkpoint of a run on the test set, with the views of `config.evaluate`.

    The result is written to `evaluations/stepN-HASH/` in the run directory; the run's own result is not changed.

    Args:
      config: the config of the run; `config.evaluate` and other keys that do not affect the weights may differ.
      workdir: the run directory.

    Returns:
      The result.

    Raises:
      VidjaxError: if there is no checkpoint, or it does not fit the model.
      ConfigError: if the run was trained with a different config.
    """
    validation.check_config(config)
    stored = read_stored(workdir)
    if stored is None or not (workdir / "checkpoints").is_dir():
        raise VidjaxError(f"{workdir}: no checkpoints to evaluate; train first, or pass the --workdir of a run")
    changes = identity.differences_except_paths(stored, config.to_dict())
    others = [change for change in changes if not change.startswith(_EVALUATION_KEYS)]
    if others:
        raise DifferentRunError(
            f"{workdir} was trained with a different config ({'; '.join(others)}); only config.evaluate may differ."
            " Leave the other keys, and --config, out to use the config of the run",
            [change.partition(":")[0] for change in others],
        )
    # Precise batch normalization statistics are computed from training clips.
    read = (
        ("train", "validation") if config.evaluate.all_parts else ("train",) * bool(config.batch_norm.precise_batches)
    )
    run = prepare(config, (*read, "test"))
    data_card.check_data_card(config, run.source, workdir)
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        state, metadata = checkpoints.restore(run.strategy.abstract_state(run.abstract_state))
    early_stopping = run.new_early_stopping()
    early_stopping.load_state_dict(metadata.get("monitor"))
    trained = weights.TrainingOutcome(state, early_stopping, metadata["seconds"])
    with options_of("evaluate"):
        state, chosen = weights.choose(config.evaluate.weights, trained, workdir)
    if config.train.features_once:
        run = dataclasses.replace(run, features=features.RunFeatures(run, state))
    terminal.say(f"evaluating step {int(state.step)} of {run.total_steps} on {len(run.source.test)} test videos")
    folder = workdir / "evaluations" / f"step{int(state.step)}-{identity.config_hash(config)}"
    files.write_text(folder / "config.json", flat.to_json(config))
    files.write_text(folder / "metrics.jsonl", (workdir / "metrics.jsonl").read_text())
    with native_operations(config.native_convolutions):
        state = run.with_precise_statistics(state)
        return evaluate_test_part(run, state, run.eval_step(), folder, chosen, train_seconds=trained.seconds)


def predict(
    run: Run,
    state: TrainState,
    eval_step: Callable[..., Any],
    part: str,
    views: ViewSpec,
    *,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] = lambda batches, total: batches,
) -> tuple[PredictionsFile, float]:
    """Scores every view of every video of one part of the data.

    Args:
      run, state, eval_step: the model to evaluate.
      part: "train", "validation" or "test".
      views: the views per video.
      progress: wraps the iterable of batches, given their number.

    Returns:
      The predictions, and the mean loss over views.
    """
    videos: tuple[Video, ...] = getattr(run.source, part)
    config = run.config
    collected = ViewScores(videos, views, len(run.source.classes), run.source.mirror)
    total = -(-len(videos) * views.count // config.evaluate.batch_size)
    reading = run.reading(part, views)
    with (
        options_of("data"),
        evaluation_batches(
            reading.videos,
            reading.clip,
            reading.views,
            inputs=reading.inputs,
            batch_size=config.evaluate.batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            cache=run.cache,
            threads=config.data.threads,
            workers=config.data.workers,
        ) as batches,
    ):
        in_flight: collections.deque[Any] = collections.deque()
        for batch in progress(batches, total):
            in_flight.append(eval_step(state, run.strategy.put_batch(batch)))
            if len(in_flight) > min(1, run.strategy.max_inflight_steps):  # more would keep more batches in memory
                collected.add(*_fetched(in_flight.popleft()))
        while in_flight:
            collected.add(*_fetched(in_flight.popleft()))
        failed = dict(batches.failed)
    return collected.records(run.source, part, config.evaluate.average, failed), collected.mean_loss()


def _fetched(scored: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The arguments of `ViewScores.add`; blocks until they are computed."""
    scored = jax.device_get(scored)
    return scored.index, scored.mask, scored.scores, scored.loss


def evaluate_test_part(
    run: Run,
    state: TrainState,
    eval_step: Callable[..., Any],
    workdir: Path,
    chosen: weights.SelectedWeights,
    *,
    train_seconds: float,
    replaced: int | None = None,
) -> Result:
    """Evaluates the test set and writes predictions, samples, result and report.

    Args:
      run, state, eval_step: the model to evaluate.
      workdir: where the files are written.
      chosen: which weights `state` has.
      train_seconds: wall time of training.
      replaced: number of unreadable training videos, if known.

    Returns:
      The result.
    """
    from vidjax.reporting import report  # takes a second to import

    started = time.monotonic()
    views = data.test_views(run.config)
    show = functools.partial(terminal.track, description="evaluating the test set", unit="batches")
    scored, _ = predict(run, state, eval_step, "test", views, progress=show)
    if not scored.videos:
        raise DataError(unreadable("test", scored))
    result = _result(run, int(state.step), views, metrics.compute_accuracies(scored), chosen, train_seconds, replaced)
    shuffled = None
    if run.config.evaluate.shuffled and run.clip.frames == 1:
        result = dataclasses.replace(result, shuffled_top1=result.video_top1)
    elif run.config.evaluate.shuffled:
        in_disorder = dataclasses.replace(views, shuffled=True)
        shuffled, _ = predict(run, state, eval_step, "test", in_disorder, progress=show)
        result = dataclasses.replace(result, shuffled_top1=metrics.compute_accuracies(shuffled).video_top1)
    others = []
    for part in ("train", "validation") if run.config.evaluate.all_parts else ():
        show = functools.partial(terminal.track, description=f"evaluating the {part} videos", unit="batches")
        others.append(predict(run, state, eval_step, part, views, progress=show)[0])
    if jax.process_index() != 0:
        return result
    for other in others:
        other.write(workdir / "predictions" / f"{other.part}.json")
    if shuffled is not None:
        shuffled.write(workdir / "predictions" / "test_shuffled.json")
    scored.write(workdir / "predictions" / "test.json")
    write_samples(run, state, scored, workdir / "samples")
    result = dataclasses.replace(result, seconds=round(train_seconds + time.monotonic() - started, 1))
    result.write(workdir / "result.json")
    page = report.write(workdir)
    show_result(result, workdir)
    for failure in scored.failed:
        terminal.say(f"could not read {printable(failure.id)}: {failure.reason}")
    terminal.say(f"report: {page}")
    return result


def show_result(result: Result, workdir: Path) -> None:
    """Prints the result row of a run, with notes."""
    terminal.table(tables.result_row(result))
    lines = metrics_line.read(workdir / "metrics.jsonl")
    for note in (tables.top5_note(result), learning_curves.overfitting_note(result, lines)):
        if note:
            terminal.say(note)


def unreadable(part: str, scored: PredictionsFile) -> str:
    """The message that no video of a part could be read, with the reason for the first one."""
    first = scored.failed[0]
    return f"none of the {len(scored.failed)} {part} videos could be read; {first.id}: {first.reason}"


def _result(
    run: Run,
    step: int,
    views: ViewSpec,
    accuracies: metrics.Accuracies,
    chosen: weights.SelectedWeights,
    seconds: float,
    replaced: int | None,
) -> Result:
    """The result with its provenance."""
    config, counts = run.config, run.summary
    inputs = run.describe_inputs(run.view_side)
    return Result(
        model=config.model.factory or config.model.name,
        inputs=f"{inputs}, {run.clip.describe_sampling()}",
        dataset=run.source.name,
        split=run.source.split,
        seed=config.seed,
        parameters=counts.parameters,
        gmacs_per_view=counts.macs / 1e9,
        resolution=run.describe_resolution(run.view_side),
        views=views.count,
        views_detail=views.describe(),
        **vars(accuracies),
        seconds=seconds,
        feature_seconds=round(run.features.seconds, 1) if run.features is not None else None,
        classes=list(run.source.classes),
        average=config.evaluate.average,
        absent_clips=run.source.num_missing_clips,
        data_notes=list(run.source.notes),
        train_videos=len(run.source.train),
        validation_videos=len(run.source.validation),
        steps=step,
        initial_weights=config.weights.source,
        weights=chosen.name,
        best_step=chosen.best_step,
        stopped_early=chosen.stopped_early,
        replaced_train_videos=replaced,
        batch_size=config.train.batch_size,
        parallel=run.strategy.name,
        hardware=devices.description(),
        versions={name: importlib.metadata.version(name) for name in ("jax", "flax", "optax", "grain", "av")},
        commit=provenance.commit(),
        date=datetime.date.today().isoformat(),
        command=command_line(),
        config_hash=identity.config_hash(config),
        finished=step >= run.total_steps or chosen.stopped_early,
    )


def write_samples(run: Run, state: TrainState, scored: PredictionsFile, folder: Path) -> None:
    """Writes the images of the report: frames of every class, animated test clips, and reconstructions of the model."""
    source, image = run.source, run.source.image
    contact = [
        (source.classes[video.label], _shown(images, image))
        for video, images in samples.read_samples(samples.first_of_classes(source.train), image, 8)
    ]
    chosen = samples.choose_clips(source.test, scored, run.config.evaluate.samples)
    clips = [(video.id, _shown(images, image), 8.0) for video, images in samples.read_samples(chosen, image, 24)]
    drawings = [(each.caption, pictures.grid(each.images, _DRAWING_SCALE)) for each in _drawings(run, state, scored)]
    pictures.write_samples(folder, contact, clips, drawings, _explanations(run, state, scored))


def _shown(images: np.ndarray, image: Input | None) -> np.ndarray:
    """Images of an input as RGB, uint8 [T, H, W, 3]."""
    if image is not None and image.vectors and image.mean is not None:
        return pictures.as_hues(images, image.mean)
    return pictures.to_displayable(images, image.mean if image is not None else None)


def _explanations(run: Run, state: TrainState, scored: PredictionsFile) -> list[tuple[str, np.ndarray, float]]:
    """The most confident mistakes, with the places that speak for the class that was predicted in color."""
    first = next((each for each in run.inputs if each.space == "image"), None)
    videos = samples.choose_mistakes(run.source.test, scored, run.config.evaluate.explanations)
    if not videos or first is None:
        return []
    views = ViewSpec(side=data.test_views(run.config).side)
    labels = {video.id: video.predicted for video in scored.videos}
    found, classes = [], run.source.classes
    try:
        explained = _compiled_grad_cam(run, state)
        with evaluation_batches(
            videos, run.clip, views, inputs=run.inputs, batch_size=1, cache=run.cache, threads=0
        ) as batches:
            for video, batch in zip(videos, batches, strict=True):
                if not batch.mask.all():
                    continue
                label = labels[video.id]
                (cam,), (frames,) = explained(batch, label), batch.inputs[first.name][:, :: first.per_frame]
                shown = pictures.centered(_shown(frames, first), cam.shape[-1])
                caption = f"{classes[label]}, in fact {classes[video.label]}: {video.id}"
                found.append((caption, pictures.side_by_side(shown, pictures.with_heat(shown, cam)), 8.0))
    except Exception as error:  # of a user's network, say: no picture is worth the result, which is not written yet
        terminal.say(
            f"mistakes are not explained: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        )
    return found


def _compiled_grad_cam(run: Run, state: TrainState) -> Callable[[Batch, int], np.ndarray]:
    """Builds (batch, label) -> Grad-CAM at the size of what the model sees, float [B, T, S, S].

    Runs only on this process, which has a full copy of the weights.
    """
    params, model_state = jax.tree.map(lambda a: np.asarray(a.addressable_data(0)), (state.params, state.model_state))

    def explain(variables: Any, seen: dict[str, jax.Array], label: jax.Array) -> jax.Array:
        layer = grad_cam.choose_layer(grad_cam.feature_maps(run.model, variables, seen))
        cam = grad_cam.grad_cam(run.model, variables, seen, label, layer)
        return grad_cam.upsampled(cam, run.clip.frames, run.view_side, run.view_side)

    options = accepted_options(CPU_OPTIONS) if jax.default_backend() == "cpu" else None
    compiled = jax.jit(explain, compiler_options=options)

    def explained(batch: Batch, label: int) -> np.ndarray:
        labels = jnp.full(batch.label.shape, label)
        cam = compiled({"params": params, **model_state}, run.preprocessing.evaluation(batch), labels)
        found: np.ndarray = jax.device_get(cam)
        return found

    return explained


def _drawings(run: Run, state: TrainState, scored: PredictionsFile) -> list[models.Drawing]:
    """Reconstructions of test examples, if the model offers them and its loss has trained them."""
    if not models.offers_drawings(run.model, losses.aux_read(run.loss)):
        return []
    videos = samples.choose_examples(run.source.test, scored)
    with evaluation_batches(
        videos, run.clip, ViewSpec(), inputs=run.inputs, batch_size=len(videos), cache=run.cache
    ) as batches:
        batch = next(iter(batches))
    # Runs only on this process, which has a full copy of the weights.
    params, model_state = jax.tree.map(lambda a: np.asarray(a.addressable_data(0)), (state.params, state.model_state))
    arguments = {**run.preprocessing.evaluation(batch), "train": False}
    output = models.apply(run.model, {"params": params, **model_state}, arguments)
    labels = [int(label) for label in batch.label]
    return run.model.draw_examples(params, output, labels, run.source.classes)
