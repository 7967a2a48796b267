"""The inner training loop, shared by training and `python -m vidjax benchmark`.

The host runs a few steps ahead of the device and never blocks on a metric that is still being computed: the metrics of
a log window are fetched a few steps after its end.
"""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from vidjax.data.records import Batch
from vidjax.errors import VideoError, VidjaxError
from vidjax.training.parallel import ParallelStrategy
from vidjax.training.state import Metrics, TrainState

# Phases of the host's time: getting the next batch, placing it on the devices, the step (dispatching it, and waiting
# for an earlier one when the host is far enough ahead), and fetching metrics.
PHASES = ("data", "transfer", "step", "metrics")
PHASE_IN_PROFILES = "vidjax: "  # before its name


@dataclasses.dataclass(frozen=True)
class LoopSchedule:
    """After which steps to log, validate and save.

    Attributes:
      total_steps: of the run.
      log_every, validate_every, save_every: steps; validate_every=0: only at the end.
      has_validation: whether there is a validation set.
      early_stopping: whether a validation may end the run.
    """

    total_steps: int
    log_every: int
    validate_every: int
    save_every: int
    has_validation: bool
    early_stopping: bool

    @classmethod
    def of(cls, section: ConfigDict, total_steps: int, *, save_every: int, has_validation: bool) -> "LoopSchedule":
        """The schedule of a section `config.train`."""
        validate_every, early_stopping = section.validate_every, section.early_stopping_patience is not None
        if section.validate_every_fraction is not None:
            validate_every = max(1, round(section.validate_every_fraction * total_steps))
        return cls(total_steps, section.log_every, validate_every, save_every, has_validation, early_stopping)

    def should_save(self, step: int) -> bool:
        """Whether to save a checkpoint after this step."""
        return step == self.total_steps or step % self.save_every == 0

    def should_validate(self, step: int) -> bool:
        """Whether to validate after this step."""
        every = self.validate_every
        return self.has_validation and (step == self.total_steps or bool(every and step % every == 0))

    def should_log(self, step: int) -> bool:
        """Whether a log window ends after this step.

        It also ends at checkpoints, so that no mean spans one and a resumed run logs the same numbers.
        """
        return (
            self.should_save(step) or (self.early_stopping and self.should_validate(step)) or step % self.log_every == 0
        )

    def should_sync(self, step: int) -> bool:
        """Whether the host waits for the device after this step."""
        return self.should_save(step) or self.should_validate(step)

    def log_steps_before_sync(self, step: int) -> list[int]:
        """The steps after `step` at which a log window ends, up to the next synchronization."""
        found = []
        for later in range(step + 1, self.total_steps + 1):
            if self.should_log(later):
                found.append(later)
            if self.should_sync(later):
                break
        return found


class LogWindow(NamedTuple):
    """The means over one log window.

    Attributes:
      step: the last step of the window.
      means: name -> sum / count over the steps of the window.
      speed: clips_per_second, and data_wait, the fraction of time spent waiting for data.
    """

    step: int
    means: dict[str, float]
    speed: dict[str, float]


class _PendingWindow(NamedTuple):
    """A closed window whose metrics have not been fetched yet.

    Attributes:
      step: the last step of the window.
      done: steps that the loop had started by then.
      metrics: of each step, on the device.
      timed: how many of these steps count towards the speed.
    """

    step: int
    done: int
    metrics: list[Metrics]
    timed: int


class TrainLoop:
    """Runs training steps on a stream of batches, at most a few steps ahead of the device.

    Args:
      strategy: parallel strategy of the step.
      train_step: compiled by that strategy.
      batches: an iterator.
      batch_size: clips per step, over all processes.
      time_phases: wait for the device after each phase of each step, so that `seconds` tells the phases apart.

    Attributes:
      train_step: as given.
      seconds: phase of `PHASES` -> host time so far.
    """

    def __init__(
        self,
        strategy: ParallelStrategy,
        train_step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]],
        batches: Iterator[Batch],
        batch_size: int,
        *,
        time_phases: bool = False,
    ):
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.train_step = train_step
        self._strategy = strategy
        self._batches = batches
        self._batch_size = batch_size
        self._time_phases = time_phases
        self._ahead = 0 if time_phases else strategy.max_inflight_steps
        self._done = 0
        self._recent: collections.deque[Metrics] = collections.deque(maxlen=self._ahead + 1)
        self._window: list[Metrics] = []
        self._untimed = 0
        self._pending: collections.deque[_PendingWindow] = collections.deque()
        self.reset_timer()

    def step(self, state: TrainState) -> TrainState:
        """Runs one step; donates the buffers of `state`.

        Raises:
          VidjaxError: if the next batch cannot be read.
        """
        with self._timed("data"):
            try:
                batch = next(self._batches)
            except VideoError as error:
                raise VidjaxError(f"{error}; repair or remove the file, then rerun the command") from error
        with self._timed("transfer"):
            batch = self._strategy.put_batch(batch)
            if self._time_phases:
                jax.block_until_ready(batch)
        with self._timed("step"):
            state, metrics = self.train_step(state, batch)
            self._window.append(metrics)
            self._recent.append(metrics)
            if len(self._recent) > self._ahead:
                jax.block_until_ready(state if self._time_phases else self._recent[0])
        self._done += 1
        return state

    def close_window(self, step: int) -> None:
        """Ends the log window at `step`; `completed_windows` returns it once its metrics have been computed."""
        for metrics in self._window:
            for value in jax.tree.leaves(metrics):
                value.copy_to_host_async()
        self._pending.append(_PendingWindow(step, self._done, self._window, len(self._window) - self._untimed))
        self._window, self._untimed = [], 0

    def completed_windows(self, *, wait: bool = False) -> list[LogWindow]:
        """The windows whose metrics have been computed and that were not returned before, in order.

        Args:
          wait: wait for the others, too.
        """
        found = []
        while self._pending and (wait or self._done - self._pending[0].done >= self._ahead):
            window = self._pending.popleft()
            with self._timed("step"):
                jax.block_until_ready(window.metrics)
            speed = self._speed(window.timed)
            with self._timed("metrics"):
                found.append(LogWindow(window.step, _means(jax.device_get(window.metrics)), speed))
        return found

    def reset_timer(self) -> None:
        """Excludes what has run since the last window (e.g. a validation) from the speed; no step may be in flight."""
        self._untimed = len(self._window)
        self._began, self._waited = time.monotonic(), self.seconds["data"]

    def _speed(self, steps: int) -> dict[str, float]:
        """Speed over the steps since the timer was reset, once the device has finished them; resets the timer."""
        elapsed, waited = max(time.monotonic() - self._began, 1e-9), self.seconds["data"] - self._waited
        self._began, self._waited = self._began + elapsed, self._waited + waited
        return {"clips_per_second": steps * self._batch_size / elapsed, "data_wait": waited / elapsed}

    @contextlib.contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        before = time.monotonic()
        with jax.profiler.TraceAnnotation(PHASE_IN_PROFILES + phase):
            yield
        self.seconds[phase] += time.monotonic() - before


def _means(window: Sequence[Metrics]) -> dict[str, float]:
    """Name -> sum / count over steps."""
    totals = {name: [sum(metrics[name][i] for metrics in window) for i in range(2)] for name in window[0]}
    return {name: float(total / count) for name, (total, count) in totals.items()}
