"""Evaluation: from a state to predictions, one result row and a report."""

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
import numpy as np
from ml_collections import ConfigDict

from vidjax import models
from vidjax.config import data, data_card, flat, identity, validation
from vidjax.config.overrides import command_line
from vidjax.config.preparation import prepare
from vidjax.config.run import Run
from vidjax.config.stored import load_stored, read_stored
from vidjax.data.pipeline import evaluation_batches
from vidjax.data.records import Video
from vidjax.data.views import ViewSpec
from vidjax.errors import DataError, DifferentRunError, DivergedError, VidjaxError, options_of, printable
from vidjax.evaluation import metrics, samples
from vidjax.evaluation.predictions import PredictionsFile
from vidjax.evaluation.result import Result
from vidjax.evaluation.view_scores import ViewScores
from vidjax.layers.convolution import native_operations
from vidjax.reporting import learning_curves, pictures, tables
from vidjax.system import devices, files, provenance, terminal
from vidjax.training import losses, metrics_line, weights
from vidjax.training.checkpoints import Checkpoints
from vidjax.training.state import TrainState

# Beginnings of the keys in which an evaluation may differ from the training: they touch no weight.
_EVALUATION_KEYS = ("evaluate.", "parallel:", "train.validate_every:", "train.validate_every_fraction:")
_DRAWING_SCALE = 2  # pixels of the page for each of a drawing


def stored_config(workdir: Path, overrides: Mapping[str, str]) -> ConfigDict:
    """The config that a run was trained with, with what is to differ in its evaluation.

    Args:
      workdir: of the run.
      overrides: dotted config key -> text of its value.

    Raises:
      VidjaxError: if there is no run.
      ConfigError: for an unknown key or a value that does not fit.
    """
    stored = read_stored(workdir)
    if stored is None:
        raise VidjaxError(f"{workdir}: no config.json, so no run to evaluate; give the --workdir of one")
    return load_stored(stored, overrides)


@contextlib.contextmanager
def divergence_hint() -> Iterator[None]:
    """Says of numbers that are not finite which keys may help.

    Raises:
      DivergedError: in the place of one without the advice.
    """
    try:
        yield
    except DivergedError as error:
        raise DivergedError(f"{error}; lower optimizer.learning_rate or set optimizer.clip_norm") from error


@divergence_hint()
def evaluate(config: ConfigDict, workdir: Path) -> Result:
    """Evaluates the newest checkpoint of a run on the test part, by the views of `config.evaluate`.

    The result goes to `evaluations/stepN-HASH/` in the run directory; the run's own result stays as it is.

    Args:
      config: as the run was trained with; `config.evaluate` and what does not touch the weights may differ.
      workdir: of the run.

    Returns:
      The result.

    Raises:
      VidjaxError: if there is no checkpoint, or it does not fit.
      ConfigError: if the run was trained with another config.
    """
    validation.check_config(config)
    stored = read_stored(workdir)
    if stored is None or not (workdir / "checkpoints").is_dir():
        raise VidjaxError(f"{workdir}: no checkpoints to evaluate; train first, or give the run's --workdir")
    changes = identity.differences_except_paths(stored, config.to_dict())
    others = [change for change in changes if not change.startswith(_EVALUATION_KEYS)]
    if others:
        raise DifferentRunError(
            f"{workdir} was trained with another config ({'; '.join(others)}); an evaluation may differ in"
            " config.evaluate alone, and takes the rest from the run where --config is left out",
            [change.partition(":")[0] for change in others],
        )
    # Statistics of batch normalisation are those of training clips.
    run = prepare(config, ("train", "test") if config.batch_norm.precise_batches else ("test",))
    data_card.check_data_card(config, run.source, workdir)
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        state, metadata = checkpoints.restore(run.strategy.abstract_state(run.abstract_state))
    early_stopping = run.new_early_stopping()
    early_stopping.load_state_dict(metadata.get("monitor"))
    trained = weights.TrainingOutcome(state, early_stopping, metadata["seconds"])
    with options_of("evaluate"):
        state, chosen = weights.choose(config.evaluate.weights, trained, workdir)
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
    """Scores every view of every video of a part, each once.

    Args:
      run, state, eval_step: what to evaluate.
      part: "test" or "validation".
      views: the views per video.
      progress: wraps the batches, given their number.

    Returns:
      The predictions, and the mean loss over views.
    """
    videos: tuple[Video, ...] = getattr(run.source, part)
    config = run.config
    collected = ViewScores(videos, views, len(run.source.classes), run.source.mirror)
    total = -(-len(videos) * views.count // config.evaluate.batch_size)
    with (
        options_of("data"),
        evaluation_batches(
            videos,
            run.clip,
            views,
            inputs=run.inputs,
            batch_size=config.evaluate.batch_size,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            cache=run.cache,
            threads=config.data.threads,
            workers=config.data.workers,
        ) as batches,
    ):
        under_way: collections.deque[Any] = collections.deque()
        for batch in progress(batches, total):
            under_way.append(eval_step(state, run.strategy.put_batch(batch)))
            if len(under_way) > min(1, run.strategy.max_inflight_steps):  # more would hold more batches in memory
                collected.add(*_fetched(under_way.popleft()))
        while under_way:
            collected.add(*_fetched(under_way.popleft()))
        failed = dict(batches.failed)
    return collected.records(run.source, part, config.evaluate.average, failed), collected.mean_loss()


def _fetched(scored: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What `ViewScores.add` takes; waits for it."""
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
    """Evaluates the test part and writes predictions, samples, the result row and the report.

    Args:
      run, state, eval_step: what to evaluate.
      workdir: of the run.
      chosen: which weights these are.
      train_seconds: wall time of the training.
      replaced: training videos that could not be read, where that is known.

    Returns:
      The result.
    """
    from vidjax.reporting import report  # its libraries take a second to import

    started = time.monotonic()
    views = data.test_views(run.config)
    show = functools.partial(terminal.track, description="evaluating the test part", unit="batches")
    scored, _ = predict(run, state, eval_step, "test", views, progress=show)
    if not scored.videos:
        raise DataError(unreadable("test", scored))
    result = _result(run, int(state.step), views, metrics.compute_accuracies(scored), chosen, train_seconds, replaced)
    if jax.process_index() != 0:
        return result
    scored.write(workdir / "predictions" / "test.json")
    write_samples(run, state, scored, workdir / "samples")
    result = dataclasses.replace(result, seconds=round(train_seconds + time.monotonic() - started, 1))
    result.write(workdir / "result.json")
    page = report.write(workdir)
    show_result(result, workdir)
    for failure in scored.failed:
        terminal.say(f"not read: {printable(failure.id)}: {failure.reason}")
    terminal.say(f"report: {page}")
    return result


def show_result(result: Result, workdir: Path) -> None:
    """Prints the result row of a run, and what should be read with it."""
    terminal.table(tables.result_row(result))
    lines = metrics_line.read(workdir / "metrics.jsonl")
    for remark in (tables.top5_note(result), learning_curves.overfitting_note(result, lines)):
        if remark:
            terminal.say(remark)


def unreadable(part: str, scored: PredictionsFile) -> str:
    """Says that no video of a part could be read, and why not the first."""
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
    """The result row and what one needs to trust it."""
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
        classes=list(run.source.classes),
        average=config.evaluate.average,
        absent_clips=run.source.num_missing_clips,
        data_notes=list(run.source.notes),
        train_videos=len(run.source.train),
        validation_videos=len(run.source.validation),
        steps=step,
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
    """Writes pictures for the report: frames of every class, some test clips that play, and what the model draws."""
    source, image = run.source, run.source.image
    middle = image.mean if image is not None else None
    contact = [
        (source.classes[video.label], pictures.to_displayable(images, middle))
        for video, images in samples.read_samples(samples.first_of_classes(source.train), image, 8)
    ]
    chosen = samples.choose_clips(source.test, scored, run.config.evaluate.samples)
    clips = [
        (video.id, pictures.to_displayable(images, middle), 8.0)
        for video, images in samples.read_samples(chosen, image, 24)
    ]
    drawings = [(each.caption, pictures.grid(each.images, _DRAWING_SCALE)) for each in _drawings(run, state, scored)]
    pictures.write_samples(folder, contact, clips, drawings)


def _drawings(run: Run, state: TrainState, scored: PredictionsFile) -> list[models.Drawing]:
    """What the model draws of test examples, where it offers that and its loss has trained it to."""
    if not models.offers_drawings(run.model, losses.aux_read(run.loss)):
        return []
    videos = samples.choose_examples(run.source.test, scored)
    with evaluation_batches(
        videos, run.clip, ViewSpec(), inputs=run.inputs, batch_size=len(videos), cache=run.cache
    ) as batches:
        batch = next(iter(batches))
    # On this process alone, which has a whole copy of the weights.
    params, model_state = jax.tree.map(lambda a: np.asarray(a.addressable_data(0)), (state.params, state.model_state))
    arguments = {**run.preprocessing.evaluation(batch), "train": False}
    output = models.apply(run.model, {"params": params, **model_state}, arguments)
    labels = [int(label) for label in batch.label]
    return run.model.draw_examples(params, output, labels, run.source.classes)
