"""The inside of the training loop, which training and `python -m vidjax benchmark` share.

The host runs a few steps ahead of the device, and never asks it for a number that it has not computed yet: the line of
a log window is written a few steps after its last one.
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

# What the host's time goes to: the next batch, placing it on the devices, the step (starting it, and waiting for an
# earlier one where the host is far enough ahead), and fetching metrics.
PHASES = ("data", "transfer", "step", "metrics")


@dataclasses.dataclass(frozen=True)
class LoopSchedule:
    """What is done after which step.

    Attributes:
      total_steps: of the run.
      log_every, validate_every, save_every: steps; validate_every=0: only at the end.
      validates_at_all: there is a validation part.
      may_stop: a validation may end the run.
    """

    total_steps: int
    log_every: int
    validate_every: int
    save_every: int
    validates_at_all: bool
    may_stop: bool

    @classmethod
    def of(cls, section: ConfigDict, total_steps: int, *, save_every: int, has_validation: bool) -> "LoopSchedule":
        """As `config.train` says it."""
        validate_every, may_stop = section.validate_every, section.early_stopping_patience is not None
        if section.validate_every_fraction is not None:
            validate_every = max(1, round(section.validate_every_fraction * total_steps))
        return cls(total_steps, section.log_every, validate_every, save_every, has_validation, may_stop)

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is due."""
        return step == self.total_steps or step % self.save_every == 0

    def validates(self, step: int) -> bool:
        """Whether a validation is due."""
        every = self.validate_every
        return self.validates_at_all and (step == self.total_steps or bool(every and step % every == 0))

    def logs(self, step: int) -> bool:
        """Whether a log window ends.

        Also before a checkpoint, so that no mean straddles one and a resumed run logs the same.
        """
        return self.saves(step) or (self.may_stop and self.validates(step)) or step % self.log_every == 0

    def pauses(self, step: int) -> bool:
        """Whether the host waits for the device in any case."""
        return self.saves(step) or self.validates(step)

    def logged_before_pause(self, step: int) -> list[int]:
        """The steps after `step` at which a log window ends, up to the next pause."""
        found = []
        for later in range(step + 1, self.total_steps + 1):
            if self.logs(later):
                found.append(later)
            if self.pauses(later):
                break
        return found


class LogWindow(NamedTuple):
    """A line of the log.

    Attributes:
      step: after which its window ended.
      means: name -> sum / count over the steps of the window.
      speed: clips_per_second, and data_wait, the share of time spent waiting for data.
    """

    step: int
    means: dict[str, float]
    speed: dict[str, float]


class _PendingWindow(NamedTuple):
    """A window whose line is due.

    Attributes:
      step: after which it ended.
      done: steps of the loop by then.
      metrics: of its steps.
      timed: how many of them count for the speed.
    """

    step: int
    done: int
    metrics: list[Metrics]
    timed: int


class TrainLoop:
    """Takes batches, places them, and runs steps on them, no more than a few of them ahead of the device.

    Args:
      form: of the step.
      train_step: compiled by it.
      batches: an iterator.
      batch_size: clips of a step, over all processes.
      by_parts: waits for the device after each part of each step, which then has its own time in `seconds`.

    Attributes:
      train_step: as given.
      seconds: part of `PHASES` -> what it has taken of the host's time.
    """

    def __init__(
        self,
        form: ParallelStrategy,
        train_step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]],
        batches: Iterator[Batch],
        batch_size: int,
        *,
        by_parts: bool = False,
    ):
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.train_step = train_step
        self._form = form
        self._batches = batches
        self._batch_size = batch_size
        self._by_parts = by_parts
        self._ahead = 0 if by_parts else form.steps_ahead
        self._done = 0
        self._recent: collections.deque[Metrics] = collections.deque(maxlen=self._ahead + 1)
        self._window: list[Metrics] = []
        self._untimed = 0
        self._closed: collections.deque[_PendingWindow] = collections.deque()
        self.restart_clock()

    def step(self, state: TrainState) -> TrainState:
        """Runs one step; the buffers of the given state are gone.

        Raises:
          VidjaxError: if no batch can be made.
        """
        with self._timed("data"):
            try:
                batch = next(self._batches)
            except VideoError as error:
                raise VidjaxError(
                    f"{error} - repair it or take it out of the data, then give the command again"
                ) from error
        with self._timed("transfer"):
            batch = self._form.put_batch(batch)
            if self._by_parts:
                jax.block_until_ready(batch)
        with self._timed("step"):
            state, metrics = self.train_step(state, batch)
            self._window.append(metrics)
            self._recent.append(metrics)
            if len(self._recent) > self._ahead:
                jax.block_until_ready(state if self._by_parts else self._recent[0])
        self._done += 1
        return state

    def close_window(self, step: int) -> None:
        """Ends the window of a line of the log; `lines` gives it when its metrics have been computed."""
        for metrics in self._window:
            for value in jax.tree.leaves(metrics):
                value.copy_to_host_async()
        self._closed.append(_PendingWindow(step, self._done, self._window, len(self._window) - self._untimed))
        self._window, self._untimed = [], 0

    def lines(self, *, wait: bool = False) -> list[LogWindow]:
        """The lines whose metrics are there, each once, in order.

        Args:
          wait: for those that are not.
        """
        found = []
        while self._closed and (wait or self._done - self._closed[0].done >= self._ahead):
            closed = self._closed.popleft()
            with self._timed("step"):
                jax.block_until_ready(closed.metrics)
            speed = self._speed(closed.timed)
            with self._timed("metrics"):
                found.append(LogWindow(closed.step, _means(jax.device_get(closed.metrics)), speed))
        return found

    def restart_clock(self) -> None:
        """Leaves out of the speed what was not training (a validation); to be called when nothing is under way."""
        self._untimed = len(self._window)
        self._began, self._waited = time.monotonic(), self.seconds["data"]

    def _speed(self, steps: int) -> dict[str, float]:
        """Of the steps since the clock began, now that the device has done them; begins it anew."""
        elapsed, waited = max(time.monotonic() - self._began, 1e-9), self.seconds["data"] - self._waited
        self._began, self._waited = self._began + elapsed, self._waited + waited
        return {"clips_per_second": steps * self._batch_size / elapsed, "data_wait": waited / elapsed}

    @contextlib.contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        before = time.monotonic()
        yield
        self.seconds[part] += time.monotonic() - before


def _means(window: Sequence[Metrics]) -> dict[str, float]:
    """Name -> sum / count over steps."""
    totals = {name: [sum(metrics[name][i] for metrics in window) for i in range(2)] for name in window[0]}
    return {name: float(total / count) for name, (total, count) in totals.items()}
