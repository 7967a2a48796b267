r"""Measures how fast a config trains on this machine, and where the time goes.

Runs the first training steps of the config on its data, with the step, the parallel strategy and the loop of training,
after a few warm-up steps. Leaves no run directory behind.

Output:
  in the loop    host time per phase as in training, where the host works ahead of the device: waiting for the next
                 batch, moving it to the device, the step (dispatching it, or waiting for an earlier one), fetching
                 metrics. These add up to the whole step. Faster reading would save the time spent waiting for data.
  by itself      time of each phase when the host waits for the device after each. These phases do not overlap, so
                 their sum may exceed a step. With pmap, moving the batch is a part of the step.
  where a step   from a profile of a few more steps: what the device computes, by kind of operation, forward and
  goes           backward, and what it waits for. These add up to a step, which the profile makes somewhat longer.
                 What XLA fuses counts as what XLA names it by; "other operations of the network" are activations,
                 additions and the like; "between operations" no operation runs within a step (or, on GPUs, between
                 two); and "not attributed" are operations without a name in the profile, as GPUs have where XLA runs
                 CUDA graphs.
  first step     time until it is done, without its data: tracing, lowering, compiling (or loading what an earlier
                 run compiled), and running.
  peak memory    of the busiest device, if devices report it (GPU, TPU), otherwise of this process.
  MFU            model FLOPs utilization: FLOPs of a step x steps/s / peak. FLOPs of a training step are counted as
                 3 x 2 x MACs x clips (backward costs twice forward; MACs of the forward pass as the parameter overview
                 counts them, without recomputation and whatever is frozen). The peak is not the vendor's: it is the
                 fastest large matrix product in JAX on this device, measured now, in the config's dtype (on CPUs with
                 the threads that this process may use, and as disturbed by other processes as the steps are).

Examples:
  python -m vidjax benchmark --config=configs/early_fusion.py
  python -m vidjax benchmark --config=configs/slowfast.py --config.train.batch_size=16 --steps=50 --json
  python -m vidjax benchmark --config=configs/c3d.py --profile=profile
      Also writes a profile of five steps; it says how to view it.
"""

import argparse
import collections
import contextlib
import math
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd
from ml_collections import ConfigDict

from vidjax.config import loading
from vidjax.config.preparation import prepare
from vidjax.config.run import Run
from vidjax.data.iteration import PREFETCH_BATCHES
from vidjax.data.records import Batch
from vidjax.errors import ConfigError, options_of
from vidjax.layers.convolution import native_operations
from vidjax.system import compilation_cache, devices, files, memory, terminal
from vidjax.system.paths import typed_path
from vidjax.training import operation_kinds, profiling
from vidjax.training.loop import PHASES, TrainLoop

_NAMES = {
    "data": "waiting for data",
    "transfer": "host to device",
    "step": "step",
    "metrics": "metrics",
    "other": "other",
}
_WARM_UP = 3  # steps after the first one
_PROFILED = 5  # steps, at most
_PROFILED_SECONDS = 0.5  # of fast steps more are profiled
_WAITS = 0.01  # of a step: who waits longer for data has to use up what was read ahead
_SHOWN_LAYER, _SHOWN_LAYERS = 0.02, 8  # share of a step from which a layer is shown, and how many are
_PEAK_SECONDS = 1.0  # spent on each form of the matrix product
_COMPILING = {  # of JAX's events -> name here
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    parser.add_argument(
        "--config",
        required=True,
        metavar="FILE[:ARGUMENT]",
        help="config file; --config.KEY=VALUE overrides its keys",
    )
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="how many are measured (20)")
    parser.add_argument("--profile", type=typed_path, metavar="DIR", help="write a profile of some steps there")
    parser.add_argument("--json", action="store_true", help="print JSON (in seconds, bytes and FLOPs) and nothing else")


def run(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Measures and prints; returns the exit status."""
    if arguments.steps < 1:
        raise ConfigError(f"--steps={arguments.steps}: give at least 1")
    compilation_cache.enable()
    # Messages of making or checking the data do not belong to the result.
    with contextlib.redirect_stdout(sys.stderr) if arguments.json else contextlib.nullcontext():
        config = loading.load(arguments.config, dict(overrides))
        if config.keep_memory:
            memory.retain_freed_memory()
        measured = measure(config, steps=arguments.steps, profile=arguments.profile)
    if arguments.json:
        print(files.to_json(measured), end="")
    else:
        _show(config, measured)
    return 0


def measure(config: ConfigDict, *, steps: int, profile: Path | None = None) -> dict[str, Any]:
    """Trains a few steps on the data of a config and measures them.

    Args:
      config: resolved.
      steps: that are measured as training runs them, after a few that are not; then a third as many, one part after
        the other.
      profile: folder for a profile of some more steps.

    Returns:
      Figures by name:

      - steps, batch_size, parallel, devices, dtype, hardware: what was measured.
      - convolutions: what computes them, in words.
      - start: seconds until there is a state: "prepare" (data and model), "state".
      - first_step: seconds of the first step: "total", and of it "trace", "lower" and "compile"; "from_cache": whether
        compiled programs were loaded instead.
      - seconds, steps_per_second, clips_per_second: of the measured steps.
      - loop: seconds per step of the host, by `PHASES` and "other"; they add up to the step.
      - parts: seconds of each of `PHASES` when the device is waited for after each.
      - step_time: of a profile: "steps"; seconds per step: "seconds", "parts", by `profiling.ROWS` ("seconds", and
        "forward" and "backward" of them), which add up to it, and "layers", the slowest, by path.
      - memory: {"bytes", "of"}: the peak of the busiest device, or of the process where devices do not tell.
      - flops_per_step: 3 x 2 x MACs x clips.
      - peak: dtype -> FLOP/s of a large matrix product, over all devices.
      - mfu: flops_per_step x steps_per_second / peak of the config's dtype.
      - first_epoch: whether the measured steps began in it; steps_per_epoch: its length.
      - profile: folder, or None.

    Raises:
      VidjaxError: for what the user can fix.
    """
    if steps < 1:
        raise ConfigError(f"--steps={steps}: give at least 1")
    if profile is not None:
        files.check_folder(profile, f"--profile={profile}")
    with native_operations(config.native_convolutions):
        began = time.monotonic()
        run = prepare(config, ("train",))
        prepared = time.monotonic()
        state = jax.block_until_ready(run.strategy.put_state(run.new_state()))
        has_state = time.monotonic()
        with options_of("data"), run.training_batches(0) as batches:
            loop = TrainLoop(run.strategy, run.train_step(), batches, config.train.batch_size)
            with _compile_times() as compiling, operation_kinds.modules_called() as modules:
                before = time.monotonic()
                state = jax.block_until_ready(loop.step(state))
                first = time.monotonic() - before - loop.seconds["data"]
            # What was read while the step was compiled has cost no time: it is used up first.
            ahead = (config.data.threads + PREFETCH_BATCHES + 1) * max(1, config.data.workers)
            unmeasured = _WARM_UP + ahead
            state, _, _ = _run(loop, state, unmeasured, config.train.log_every)
            state, seconds, in_loop = _run(loop, state, steps, config.train.log_every)
            timed_loop = TrainLoop(run.strategy, loop.train_step, batches, config.train.batch_size, time_phases=True)
            state, _, parts = _run(timed_loop, state, -(-steps // 3), 1)
            peak_memory = _memory(run)
            used_up = ahead if in_loop["data"] > _WAITS * seconds / steps else 0
            profiled = min(steps, max(_PROFILED, math.ceil(_PROFILED_SECONDS * steps / seconds)))
            state, step_time = _step_time(run, loop, state, modules, used_up, profiled, next(batches))
            if profile is not None:
                with jax.profiler.trace(str(profile), create_perfetto_trace=True):
                    for number in range(min(steps, _PROFILED)):
                        with jax.profiler.StepTraceAnnotation("train", step_num=number):
                            state = loop.step(state)
                    jax.block_until_ready(state)
    del state
    flops = 3 * 2 * _macs(run) * config.train.batch_size
    peak = {name: _peak(run, name) for name in dict.fromkeys(("float32", config.dtype))}
    return {
        "steps": steps,
        "batch_size": config.train.batch_size,
        "parallel": run.strategy.name,
        "devices": len(run.strategy.devices),
        "dtype": config.dtype,
        "hardware": devices.description(),
        "convolutions": run.describe_convolutions(),
        "start": {"prepare": prepared - began, "state": has_state - prepared},
        "first_step": {"total": first, **compiling},
        "seconds": seconds,
        "steps_per_second": steps / seconds,
        "clips_per_second": steps * config.train.batch_size / seconds,
        "loop": {**in_loop, "other": seconds / steps - sum(in_loop.values())},
        "parts": parts,
        "step_time": step_time,
        "memory": peak_memory,
        "flops_per_step": flops,
        "peak": peak,
        "mfu": flops * steps / seconds / peak[config.dtype],
        "first_epoch": 1 + unmeasured < run.steps_per_epoch,
        "steps_per_epoch": run.steps_per_epoch,
        "profile": str(profile) if profile is not None else None,
    }


def _run(
    loop: TrainLoop, state: Any, steps: int, log_every: int, *, drain: bool = True
) -> tuple[Any, float, dict[str, float]]:
    """Runs steps as training does; returns the state, seconds in all, and seconds of each part per step.

    Args:
      loop: of training.
      state: before the steps.
      steps: number of them.
      log_every: steps of a log window.
      drain: whether to wait for the device at the end.
    """
    before, began = dict(loop.seconds), time.monotonic()
    for step in range(1, steps + 1):
        state = loop.step(state)
        is_last = drain and step == steps
        if step % log_every == 0 or is_last:
            loop.close_window(step)
        loop.completed_windows(wait=is_last)
    if drain:
        jax.block_until_ready(state)
    seconds = time.monotonic() - began
    return state, seconds, {part: (loop.seconds[part] - before[part]) / steps for part in PHASES}


def _step_time(
    run: Run, loop: TrainLoop, state: Any, modules: operation_kinds.Modules, unmeasured: int, steps: int, batch: Batch
) -> tuple[Any, dict[str, Any]]:
    """Profiles some steps; returns the state, and seconds per step of each part and layer."""
    every = run.config.train.log_every
    # The call that has compiled the step keeps it: this compiles nothing.
    train_step: Any = loop.train_step
    program = train_step.lower(state, run.strategy.put_batch(batch)).compile().as_text()
    with profiling.recording() as recording:
        # As in the middle of training, the host is ahead of the device at both ends.
        state, _, _ = _run(loop, state, max(unmeasured, run.strategy.max_inflight_steps + 1), every, drain=False)
        with recording.measured():
            state, _, _ = _run(loop, state, steps, every, drain=False)
        loop.completed_windows(wait=True)
        jax.block_until_ready(state)
    found = profiling.step_time(recording.data, program, modules)
    return state, {
        "steps": steps,
        "seconds": found.seconds / steps,
        "parts": {
            row: {name: seconds / steps for name, seconds in times.items()} for row, times in found.parts.items()
        },
        "layers": {layer: seconds / steps for layer, seconds in found.layers.items()},
    }


@contextlib.contextmanager
def _compile_times() -> Iterator[dict[str, Any]]:
    """Fills, at its end, what JAX tells of compiling within it: trace, lower, compile, from_cache."""
    seconds: dict[str, float] = collections.defaultdict(float)
    loaded = []

    def note_duration(event: str, duration_secs: float, **_: Any) -> None:
        seconds[_COMPILING.get(event, event)] += duration_secs

    def note(event: str, **_: Any) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            loaded.append(event)

    jax.monitoring.register_event_duration_secs_listener(note_duration)
    jax.monitoring.register_event_listener(note)
    times: dict[str, Any] = {}
    try:
        yield times
    finally:
        jax.monitoring.unregister_event_duration_listener(note_duration)
        jax.monitoring.unregister_event_listener(note)
    times.update({name: seconds[name] for name in _COMPILING.values()}, from_cache=bool(loaded))


def _macs(run: Run) -> int:
    """Multiply-accumulates of one clip, forward, as training sees it."""
    return run.summary.macs if run.input_side == run.view_side else run.counts(run.input_side).macs


def _memory(run: Run) -> dict[str, Any]:
    """The peak so far."""
    told = [(device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in run.strategy.devices]
    if all(told):
        return {"bytes": max(told), "of": "device"}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"bytes": peak if sys.platform == "darwin" else peak * 1024, "of": "process"}


def _peak(run: Run, dtype: str) -> float:
    """FLOP/s of the fastest large matrix product of a dtype that JAX gives, over the devices of the run."""
    device = run.strategy.devices[0]
    is_cpu = device.platform == "cpu"
    side = 2048 if is_cpu else 8192
    x = jax.device_put(jnp.full((side, side), 1 / side, dtype), device)
    # With results of float32 a CPU multiplies bfloat16 several times faster.
    seconds = min(_fastest(x, kind) for kind in {dtype, "float32"})
    # Virtual CPU devices share the cores that one of them uses.
    return 2 * side**3 / seconds * (1 if is_cpu else len(run.strategy.devices))


def _fastest(x: jax.Array, result: str) -> float:
    """Seconds of the fastest product of x with itself."""
    product = jax.jit(lambda x: jnp.matmul(x, x, preferred_element_type=result))
    jax.block_until_ready(product(x))
    began, best = time.monotonic(), float("inf")
    while (before := time.monotonic()) - began < _PEAK_SECONDS:
        jax.block_until_ready(product(x))
        best = min(best, time.monotonic() - before)
    return best


def _show(config: Any, measured: Mapping[str, Any]) -> None:
    step = 1 / measured["steps_per_second"]
    terminal.say(
        f"{config.name}: {measured['steps']} steps of {measured['batch_size']} clips, {measured['dtype']},"
        f" {measured['parallel']} on {measured['devices']} device(s) ({measured['hardware']})"
    )
    terminal.say(f"{measured['steps_per_second']:.3g} steps/s, {measured['clips_per_second']:.4g} clips/s")
    rows = [
        (
            name,
            f"{1e3 * measured['loop'][part]:.2f}",
            f"{measured['loop'][part] / step:.1%}",
            f"{1e3 * measured['parts'][part]:.2f}" if part in measured["parts"] else "",
        )
        for part, name in _NAMES.items()
    ]
    heads = ["part of a step", "in the loop, ms", "share", "by itself, ms"]
    terminal.table(pd.DataFrame(rows, columns=heads))
    _show_step_time(measured["step_time"])
    start, first = measured["start"], measured["first_step"]
    how = "loaded" if first["from_cache"] else "compiled"
    terminal.say(
        f"first step: {first['total']:.2f} s (tracing {first['trace']:.2f}, lowering {first['lower']:.2f},"
        f" {how} {first['compile']:.2f}); before it: data and model {start['prepare']:.2f} s, state"
        f" {start['state']:.2f} s"
    )
    terminal.say(f"convolutions: {measured['convolutions']}")
    peak = measured["memory"]
    terminal.say(f"peak memory of the {peak['of']}: {peak['bytes'] / 1e9:.2f} GB")
    peaks = ", ".join(f"{name} {flops / 1e9:,.0f} GFLOP/s" for name, flops in measured["peak"].items())
    terminal.say(
        f"MFU: {measured['mfu']:.1%} of the measured peak of {measured['dtype']}"
        f" ({measured['flops_per_step'] / 1e9:,.1f} GFLOPs a step; matrix products: {peaks})"
    )
    if config.data.cache != "none" and measured["first_epoch"]:
        terminal.say(
            "note: these steps are of the first epoch, which decodes what the cache does not hold yet; later ones read"
            f" data.cache={config.data.cache} ({measured['steps_per_epoch']:.0f} steps are an epoch)"
        )
    if measured["profile"]:
        terminal.say(
            f"profile: {measured['profile']}: open plugins/profile/*/perfetto_trace.json.gz in it on"
            f" https://ui.perfetto.dev, or: pip install xprof && xprof --logdir={measured['profile']}"
        )


def _show_step_time(step_time: Mapping[str, Any]) -> None:
    whole = step_time["seconds"]
    rows = [
        (
            row,
            f"{1e3 * times['seconds']:.2f}",
            f"{times['seconds'] / whole:.1%}",
            *(f"{1e3 * times[pass_]:.2f}" if times[pass_] else "" for pass_ in ("forward", "backward")),
        )
        for row, times in step_time["parts"].items()
    ]
    heads = ["where a step goes", "ms", "share", "forward, ms", "backward, ms"]
    terminal.table(pd.DataFrame(rows, columns=heads))
    shares = {layer: seconds / whole for layer, seconds in step_time["layers"].items()}
    shown = [f"{layer} {share:.1%}" for layer, share in shares.items() if share >= _SHOWN_LAYER][:_SHOWN_LAYERS]
    terminal.say(f"slowest layers: {', '.join(shown) or 'all below 2%'} ({step_time['steps']} steps were profiled)")
