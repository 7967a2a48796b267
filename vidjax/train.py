"""Training: `train_and_evaluate(config, workdir)`, readable from top to bottom."""

import contextlib
import fcntl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flax import traverse_util
from ml_collections import ConfigDict

from vidjax import evaluate
from vidjax.config import building, data, data_card, identity, run_validation, validation
from vidjax.config.flat import flatten, to_json
from vidjax.config.preparation import prepare
from vidjax.config.run import Run
from vidjax.config.stored import read_stored
from vidjax.data.cache.interface import gigabytes
from vidjax.errors import DataError, DifferentRunError, InUseError, VidjaxError, options_of, printable
from vidjax.evaluation import metrics as video_metrics
from vidjax.evaluation.result import Result
from vidjax.inference import features
from vidjax.inference.network import load_network
from vidjax.layers.convolution import native_operations
from vidjax.pretrained import hub
from vidjax.pretrained.sources import GivenWeights, read_weights
from vidjax.reporting import tables
from vidjax.system import files, terminal
from vidjax.training import best_checkpoint, metrics_line, weights
from vidjax.training.checkpoints import Checkpoints
from vidjax.training.loop import LoopSchedule, TrainLoop
from vidjax.training.metrics_line import TrainLine, ValidationLine
from vidjax.training.metrics_log import MetricsLog
from vidjax.training.state import TrainState, validated

_MAX_LISTED = 10  # unreadable training videos are listed by name


@evaluate.divergence_hint()
def train_and_evaluate(config: ConfigDict, workdir: Path) -> Result:
    """Trains what the config describes, evaluates it once on the test part and writes the report.

    The same directory resumes: what was trained is continued from its newest checkpoint and ends at the
    same numbers as without the interruption; what is finished is reported and not trained again.

    Args:
      config: resolved.
      workdir: the run directory.

    Returns:
      The result.

    Raises:
      VidjaxError: for what the user can fix, e.g. a directory that holds a run of another config.
    """
    validation.check_config(config)
    _check_directory(config, workdir)
    with _lock(workdir), native_operations(config.native_convolutions):
        finished = _finished(config, workdir)
        if finished is not None:
            return finished
        begins = not _has_checkpoint(workdir)
        run = prepare(config, given=_given_weights(config) if begins else None)
        if config.train.features_once:
            features.check(run)
        if begins:
            data_card.write_data_card(run.source, workdir)
        else:
            data_card.check_data_card(config, run.source, workdir)
        files.write_text(workdir / "config.json", to_json(config))
        _print_summary(run, workdir)
        if run.initial_weights is not None:
            run.initial_weights.write(workdir)
            for line in run.initial_weights.describe():
                terminal.say(line)
        trained = train(run, workdir)
        with options_of("evaluate"):
            state, chosen = weights.choose(config.evaluate.weights, trained, workdir)
        if config.train.features_once:
            run = features.reading_features(run, state)
        result = evaluate.evaluate_test_part(
            run,
            run.with_precise_statistics(state),
            run.eval_step(),
            workdir,
            chosen,
            train_seconds=trained.seconds,
            replaced=len(trained.replaced),
        )
        terminal.say(f"to classify videos with it: python -m vidjax predict VIDEO --workdir={workdir}")
        return result


def _given_weights(config: ConfigDict) -> GivenWeights | None:
    """Reads the weights that training begins from: published ones, or those of another run."""
    source = config.weights.source
    if source is None:
        return None
    folder = Path(source).expanduser()
    if folder.is_dir() and not (folder / hub.FILE).is_file():
        # Typed for this run, so that they may be called for that one.
        typed = {"model.factory": config.model.factory, "data.pose_factory": config.data.pose_factory}
        network = load_network(source, {key: value for key, value in typed.items() if value})
        flat, model = traverse_util.flatten_dict(network.variables, sep="/"), (read_stored(folder) or {})["model"]
        label, seen = model.get("factory") or model["name"], network.preprocessing
        return GivenWeights(flat, network.classes, source, None, label, model.get("variant"), seen.mean, seen.std)
    return read_weights(source, config.model.name, building.model(config, 2))


def train(run: Run, workdir: Path) -> weights.TrainingOutcome:
    """Trains to the end, from the newest checkpoint if there is one."""
    config, strategy, early_stopping = run.config, run.strategy, run.new_early_stopping()
    replaced = dict(run.source.refused)
    first_step, seconds_before = 0, 0.0
    with (
        options_of("data"),
        Checkpoints(workdir / "checkpoints", config.checkpoint.keep) as checkpoints,
        best_checkpoint.BestCheckpoint(workdir, checkpoints) as best,
    ):
        if checkpoints.latest_step() is not None:
            state, metadata = checkpoints.restore(strategy.abstract_state(run.abstract_state))
            first_step, seconds_before = int(state.step), metadata["seconds"]
            early_stopping.load_state_dict(metadata.get("monitor"))
            replaced.update(metadata.get("replaced", {}))
            terminal.say(f"resuming {workdir} at step {first_step} of {run.total_steps}")
        else:
            state = strategy.put_state(run.new_state())
        if config.train.features_once:
            run = features.reading_features(run, state)
        best.resume(state, early_stopping.best_step)
        train_step, eval_step = run.train_step(), run.eval_step()
        started = time.monotonic()
        schedule = LoopSchedule.of(
            config.train,
            run.total_steps,
            save_every=config.checkpoint.every,
            has_validation=bool(run.source.validation),
        )
        with (
            MetricsLog(workdir, first_step) as log,
            terminal.Progress(run.total_steps, first_step) as progress,
            run.training_batches(first_step) as batches,
        ):
            loop = TrainLoop(strategy, train_step, batches, config.train.batch_size)
            rates = run.learning_rates(schedule.log_steps_before_sync(first_step), state)
            for step in range(first_step + 1, run.total_steps + 1):
                if early_stopping.should_stop:  # also when resumed after that
                    break
                state = loop.step(state)
                if batches.failed.keys() - replaced.keys():
                    replaced.update(batches.failed)
                    run_validation.check_readable(run.source, replaced, config.data.max_bad_fraction)
                if schedule.should_log(step):
                    loop.close_window(step)
                windows = loop.completed_windows(wait=schedule.should_sync(step))
                for window in windows:
                    logged = TrainLine.of(window.step, window.means, rates[window.step])
                    log.write(logged)
                    progress.update(window.step, loss=logged.loss, top1=logged.top1, **window.speed)
                if not windows:
                    progress.update(step)
                if schedule.should_validate(step):
                    found = validate(run, run.with_precise_statistics(validated(state)), eval_step, step)
                    log.write(found)
                    progress.note(_format_validation(found))
                    if early_stopping.update(step, metrics_line.values(found)):
                        best.save(validated(state).weights, step)
                    state = run.after_validation(state, found.loss)
                    loop.reset_timer()
                if schedule.should_save(step) or early_stopping.should_stop:
                    log.flush()
                    best.before_checkpoint(step, early_stopping.best_step)
                    seconds = seconds_before + time.monotonic() - started
                    checkpoints.save(
                        state, step, seconds=seconds, monitor=early_stopping.state_dict(), replaced=replaced
                    )
                if schedule.should_sync(step):
                    rates = run.learning_rates(schedule.log_steps_before_sync(step), state)
        best.prune()
    if early_stopping.should_stop:
        terminal.say(
            f"stopped at step {int(state.step)}: {early_stopping.validations_since_best} validations without a better"
            f" {early_stopping.metric} than at step {early_stopping.best_step} (train.early_stopping_patience)"
        )
    for number, (name, reason) in enumerate(replaced.items()):
        if number < _MAX_LISTED:
            terminal.say(f"replaced unreadable video {printable(name)}: {reason}")
    if len(replaced) > _MAX_LISTED:
        terminal.say(f"and {len(replaced) - _MAX_LISTED} more (python -m vidjax check-data PATH lists them)")
    return weights.TrainingOutcome(state, early_stopping, seconds_before + time.monotonic() - started, replaced)


def validate(run: Run, state: TrainState, eval_step: Any, step: int) -> ValidationLine:
    """Loss and accuracies on the validation part, after so many steps."""
    views = data.validation_views(run.config)
    scored, loss = evaluate.predict(run, state, eval_step, "validation", views)
    if not scored.videos:
        raise DataError(evaluate.unreadable("validation", scored))
    found = video_metrics.compute_accuracies(scored)
    return ValidationLine(
        step=step,
        loss=loss,
        clip_top1=found.clip_top1,
        video_top1=found.video_top1,
        mean_class_accuracy=found.mean_class_accuracy,
        failed_videos=float(found.failed_videos) if found.failed_videos else None,
    )


def _format_validation(line: ValidationLine) -> str:
    failed = f" ({line.failed_videos:.0f} videos could not be read)" if line.failed_videos else ""
    return (
        f"validation at step {line.step}: loss {line.loss:.3f},"
        f" clip top-1 {line.clip_top1:.1%}, video top-1 {line.video_top1:.1%}{failed}"
    )


def _check_directory(config: ConfigDict, workdir: Path) -> None:
    """Refuses a run directory that holds a run of another config.

    Raises:
      ConfigError: naming the keys that differ.
    """
    stored = read_stored(workdir)
    if not (workdir / "result.json").exists() and not _has_checkpoint(workdir):
        return  # nothing was trained, so nothing can be lost
    changes = identity.differences_except_paths(stored, config.to_dict()) if stored is not None else []
    if changes:
        run_validation.check_shapes(config)  # an error that another --workdir would not fix
        raise DifferentRunError(
            f"{workdir} holds a run with a different config ({'; '.join(changes)}):"
            f" choose another --workdir or delete it{_how_to_go_on(changes, config, workdir)}",
            [change.partition(":")[0] for change in changes],
        )


def _how_to_go_on(changes: Sequence[str], config: ConfigDict, workdir: Path) -> str:
    """What to say to a user who wants a run to be longer."""
    if not all(change.startswith(("train.steps:", "train.epochs:")) for change in changes):
        return ""
    # What published weights lack, such as a pooler, the run has.
    every = " --config.weights.skip=None" if config.weights.skip is not None else ""
    return f"; to train on from its weights, give another --workdir and --config.weights.source={workdir}{every}"


def _has_checkpoint(workdir: Path) -> bool:
    folder = workdir / "checkpoints"
    return folder.is_dir() and any(folder.iterdir())


@contextlib.contextmanager
def _lock(workdir: Path) -> Iterator[None]:
    """Locks the run directory; the system releases the lock however the process ends.

    A directory that was created for a run that ends before it writes anything is removed again.

    Raises:
      VidjaxError: if it cannot be written; InUseError: if another process holds it.
    """
    made = files.missing_folders(workdir)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = (workdir / ".lock").open("w")
    except OSError as error:
        raise VidjaxError(
            f"--workdir={workdir}: cannot be used as a run directory ({error.strerror}); give another folder"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUseError(
                f"{workdir}: another process is training in this directory; wait for it to finish or stop it"
            ) from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # no error here may replace the one that ended the run
                if made and [entry.name for entry in workdir.iterdir()] == [".lock"]:
                    (workdir / ".lock").unlink()
                    files.remove_empty(made)


def _finished(config: ConfigDict, workdir: Path) -> Result | None:
    """Shows and returns the result of a finished run; None where there is none.

    Raises:
      DataError: if the config names other data now.
    """
    result, stored = Result.read(workdir / "result.json"), read_stored(workdir)
    if result is None or not result.finished:
        return None
    if stored is not None and identity.differences(stored, config.to_dict()):
        data_card.check_data_card(config, building.source(config), workdir)
    page = workdir / "report.html"
    if not _is_complete(page):
        from vidjax.reporting import report  # its libraries take a second to import

        report.write(workdir)
    evaluate.show_result(result, workdir)
    terminal.say(f"{workdir} is already finished; nothing to train. Report: {page}")
    return result


def _is_complete(page: Path) -> bool:
    """Whether a page is there to its end: in older versions it was cut short if the process was killed meanwhile."""
    return page.is_file() and page.read_bytes().rstrip().endswith(b"</html>")


def _print_summary(run: Run, workdir: Path) -> None:
    """Prints the resolved config, the data and the parameter overview."""
    source = run.source
    terminal.say(f"config ({workdir / 'config.json'}):")
    flat = flatten(run.config)
    unused = "train.validate_every" if run.config.train.validate_every_fraction is not None else ""
    for key, value in flat.items():
        if value is not None and key != unused:
            terminal.say(f"  {key} = {value}")
    terminal.parameter_overview([(la.path, la.output_shape, la.parameters, la.macs) for la in run.summary.layers])
    terminal.say(
        f"{source.name}, split {tables.split_name(source.split)}: {len(source.classes)} classes,"
        f" {len(source.train)} training, {len(source.validation)} validation, {len(source.test)} test videos"
    )
    for note in source.notes:
        terminal.say(f"  note: {note}")
    need = run.cache_need() if run.cache is not None else None
    if need is not None:
        bound = run.config.data.cache_gigabytes
        terminal.say(
            f"  cache: all videos, at the size at which clips are cut, need {gigabytes(need)}"
            f" {'on disk' if run.config.data.cache == 'disk' else 'in memory'} (data.cache_gigabytes={bound:g})"
        )
        if need > bound * 1e9:
            terminal.say(
                f"  warning: this exceeds data.cache_gigabytes={bound:g}, so about {1 - bound * 1e9 / need:.0%} of"
                " the videos are decoded on every access; raise the limit if there is room"
            )
    if run.strategy.devices[0].platform == "cpu":
        terminal.say(f"convolutions: {run.describe_convolutions()}")
    devices = len(run.strategy.devices)
    terminal.say(
        f"{run.total_steps} steps of {run.config.train.batch_size} clips"
        f" ({run.total_steps / run.steps_per_epoch:.1f} epochs),"
        f" {run.strategy.name} on {devices} {'device' if devices == 1 else 'devices'}"
    )
