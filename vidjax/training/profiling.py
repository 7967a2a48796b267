"""Where the time of training steps goes, from a profile: what the device computes, and why it waits.

At each moment the device either runs operations, each of some part of the step (`operation_kinds`), or waits for the
host, which is in some phase of the loop (`loop.PHASES`). So the parts add up to the whole time.
"""

import collections
import contextlib
import dataclasses
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from vidjax.training.loop import PHASE_IN_PROFILES
from vidjax.training.operation_kinds import PARTS, Modules, kinds_of, name_of

# The device waits while the host is in this phase.
WAITING = {
    "data": "waiting for data",
    "transfer": "host to device",
    "step": "starting the step",
    "metrics": "fetching metrics",
}
ELSEWHERE = "rest of the loop"
BETWEEN = "between operations"
NOT_ATTRIBUTED = "not attributed"
ROWS = (*WAITING.values(), ELSEWHERE, *PARTS, BETWEEN, NOT_ATTRIBUTED)
_WINDOW = "vidjax measured"
# On CPUs: before the name of an operation, when it has ended; and what says which call of it that was.
_END, _BEGINS, _ENDS = "end: ", "_p", "_c"
_MODULE_LINE = "XLA Ops"  # of TPUs: all else in their planes repeats it
_LAYERS = 30  # at most, the slowest first


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Where the time went.

    Attributes:
      seconds: in all.
      parts: row of `ROWS` -> "seconds", and "forward" and "backward" of them; rows without time are left out.
      layers: path of a module -> seconds of its own operations, forward and backward; of the slowest.
    """

    seconds: float
    parts: dict[str, dict[str, float]]
    layers: dict[str, float]


class _Span(NamedTuple):
    """What one thread or stream did from `start` to `end`, in nanoseconds; `name` is None of an unknown operation."""

    start: float
    end: float
    name: str | None


class _Profile(NamedTuple):
    """What a profile says.

    Attributes:
      window: start and end of what was measured.
      phases: of the host.
      devices: operations of each device; on a CPU those of all threads are one.
      programs: start and end of each run of a program, of each device.
    """

    window: tuple[float, float]
    phases: list[_Span]
    devices: list[list[_Span]]
    programs: list[list[_Span]]


class Recording:
    """A profile in the making; `measured` marks the part of it that counts."""

    data: jax.profiler.ProfileData

    @contextlib.contextmanager
    def measured(self) -> Iterator[None]:
        """Marks what runs within."""
        with jax.profiler.TraceAnnotation(_WINDOW):
            yield


@contextlib.contextmanager
def recording() -> Iterator[Recording]:
    """Profiles what runs within, without the calls of Python, whose profile would slow the host down.

    The `data` of what it yields are there at its end, when nothing may be in flight.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    found = Recording()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            yield found
        path = next(Path(folder).glob("plugins/profile/*/*.xplane.pb"))
        found.data = jax.profiler.ProfileData.from_serialized_xspace(path.read_bytes())


def step_time(data: jax.profiler.ProfileData, program: str, modules: Modules) -> StepTime:
    """Tells where the time went.

    Args:
      data: a profile by `recording`, of a `TrainLoop`.
      program: the compiled step as text, in HLO.
      modules: path -> class, of the network (`operation_kinds.modules_called`).

    Returns:
      Times of the whole measured part, the mean over devices.
    """
    kinds = kinds_of(program, modules)
    profile = _read(data, name_of(program))
    began, ended = profile.window
    parts: dict[str, dict[str, float]] = {row: {"seconds": 0.0, "forward": 0.0, "backward": 0.0} for row in ROWS}
    layers: dict[str, float] = collections.defaultdict(float)
    each = 1e-9 / len(profile.devices)
    for operations, programs in zip(profile.devices, profile.programs, strict=True):
        spans = [(0, span) for span in operations] + [(1, span) for span in programs]
        spans += [(2, span) for span in profile.phases]
        for nanoseconds, (running, inside, phases) in _moments(spans, began, ended):
            known = [kinds[name] for name in running if name in kinds]
            # What runs a loop waits for the operations in it.
            known = [kind for kind in known if not kind.is_control] or known
            if known:
                for kind in known:
                    seconds = each * nanoseconds / len(known)
                    parts[kind.part]["seconds"] += seconds
                    if kind.pass_:
                        parts[kind.part][kind.pass_] += seconds
                    if kind.layer:
                        layers[kind.layer] += seconds
            elif running:
                parts[NOT_ATTRIBUTED]["seconds"] += each * nanoseconds
            elif inside:
                parts[BETWEEN]["seconds"] += each * nanoseconds
            else:
                row = WAITING[phases[-1]] if phases and phases[-1] else ELSEWHERE
                # Where a profile does not tell runs apart, the next operation may be of the same step.
                row = BETWEEN if row == WAITING["step"] and not programs else row
                parts[row]["seconds"] += each * nanoseconds
    slowest = sorted(layers.items(), key=lambda item: -item[1])[:_LAYERS]
    return StepTime(
        1e-9 * (ended - began), {row: time for row, time in parts.items() if time["seconds"]}, dict(slowest)
    )


def _read(data: jax.profiler.ProfileData, program: str) -> _Profile:
    """What a profile says of the program's operations and of the loop."""
    window = (0.0, 0.0)
    phases: list[_Span] = []
    host: list[_Span] = []
    host_programs: list[_Span] = []
    devices, programs = [], []
    for plane in data.planes:
        if plane.name.startswith("/device:") and "CUSTOM" not in plane.name:
            lines = list(plane.lines)
            only = [line for line in lines if line.name == _MODULE_LINE]
            streams = only or [line for line in lines if line.name.startswith("Stream")]
            operations, runs = _operations(streams, program, all_count=True)
            if operations:
                devices.append(operations)
                programs.append(runs)
        elif plane.name == "/host:CPU":
            for line in plane.lines:
                for event in line.events:
                    if event.name == _WINDOW:
                        window = (event.start_ns, event.end_ns)
                    elif event.name.startswith(PHASE_IN_PROFILES):
                        name = event.name.removeprefix(PHASE_IN_PROFILES)
                        phases.append(_Span(event.start_ns, event.end_ns, name))
            host, host_programs = _operations(plane.lines, program, all_count=False)
    return _Profile(window, phases, devices or [host], programs or [host_programs])


def _operations(lines: Iterable[Any], program: str, *, all_count: bool) -> tuple[list[_Span], list[_Span]]:
    """Operations that contain no other of their line, and runs of the program.

    Args:
      lines: threads or streams.
      program: name of the compiled step.
      all_count: whether events that name no operation are unknown operations (but for copies from and to the host),
        and not something else.
    """
    innermost: list[_Span] = []
    runs: dict[Any, tuple[float, float]] = {}
    begun: dict[Any, _Span] = {}
    ended: dict[Any, float] = {}
    for line in lines:
        found = []
        for event in line.events:
            stats = dict(event.stats)
            operation = stats.get("hlo_op")
            if event.name.startswith(_END):
                ended[stats.get(_ENDS)] = event.start_ns
                continue
            if operation is None and (not all_count or "memcpy_details" in stats):
                continue
            is_ours = operation is not None and stats.get("hlo_module", program) == program
            span = _Span(event.start_ns, event.end_ns, operation if is_ours else None)
            found.append(span)
            if _BEGINS in stats:
                begun[stats[_BEGINS]] = span
            if is_ours and (run := stats.get("run_id")) is not None:
                before = runs.get(run, (span.start, span.end))
                runs[run] = (min(span.start, before[0]), max(span.end, before[1]))
        innermost += _innermost(found)
    # Some large operations of a CPU run on in other threads after their call has returned.
    innermost += [_Span(span.end, ended[key], span.name) for key, span in begun.items() if ended.get(key, 0) > span.end]
    return innermost, [_Span(start, end, None) for start, end in runs.values()]


def _innermost(spans: Iterable[_Span]) -> Iterator[_Span]:
    """Nested spans of one thread as spans one after the other, each of the innermost that runs at that time."""
    open_: list[_Span] = []
    now = 0.0
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        while open_ and open_[-1].end <= span.start:
            done = open_.pop()
            if done.end > now:
                yield _Span(now, done.end, done.name)
            now = max(now, done.end)
        if open_ and span.start > now:
            yield _Span(now, span.start, open_[-1].name)
        now = max(now, span.start) if open_ else span.start
        open_.append(span)
    while open_:
        done = open_.pop()
        if done.end > now:
            yield _Span(now, done.end, done.name)
        now = max(now, done.end)


def _moments(
    spans: Iterable[tuple[int, _Span]], began: float, ended: float
) -> Iterator[tuple[float, tuple[list[str | None], ...]]]:
    """Nanoseconds without a change, and the names of the spans of each of three groups that run during them."""
    changes = []
    for number, (group, span) in enumerate(spans):
        start, end = max(span.start, began), min(span.end, ended)
        if start < end:
            changes += [(start, 1, group, number, span.name), (end, 0, group, number, span.name)]
    running: tuple[dict[int, str | None], ...] = ({}, {}, {})
    now = began
    for moment, is_start, group, number, name in sorted(changes, key=lambda change: change[:2]):
        if moment > now:
            yield moment - now, tuple(list(names.values()) for names in running)
            now = moment
        if is_start:
            running[group][number] = name
        else:
            del running[group][number]
    if ended > now:
        yield ended - now, ([], [], [])
