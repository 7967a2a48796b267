r"""How fast a config trains on this machine, and what the time goes to.

Takes the first training steps of the config, on its data, with the step, the parallel form and the loop of training
(launch.py), after a few that are not measured. Leaves no run directory behind.

What it shows:
  in the loop    the time of the host as in training, where it works ahead of the device: waiting for the next batch,
                 moving it to the device, the step (starting it, or waiting for an earlier one), fetching metrics.
                 These shares add up to the whole. Waiting for data is what faster reading would save.
  by itself      the time of each part when the device is waited for after each; these do not overlap, so that their
                 sum may be longer than a step. pmap moves the batch itself: there it is a part of the step.
  first step     until it is done, without its data: tracing, lowering, compiling (or loading what an earlier run
                 compiled), and running it.
  peak memory    of the busiest device, where devices tell it (GPU, TPU), otherwise of this process.
  MFU            model FLOPs utilisation: FLOPs of a step x steps/s / peak. FLOPs of a training step are counted as
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
import contextlib
import sys
from collections.abc import Mapping
from typing import Any

from vidjax.errors import ConfigError
from vidjax.system import files, terminal
from vidjax.system.paths import typed_path

_NAMES = {
    "data": "waiting for data",
    "transfer": "host to device",
    "step": "step",
    "metrics": "metrics",
    "other": "other",
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
    from vidjax import benchmark
    from vidjax.config import loading
    from vidjax.system import compilation_cache, memory

    compilation_cache.enable()
    # What making or checking the data says is no part of the result.
    with contextlib.redirect_stdout(sys.stderr) if arguments.json else contextlib.nullcontext():
        config = loading.load(arguments.config, dict(overrides))
        if config.keep_memory:
            memory.retain_freed_memory()
        measured = benchmark.measure(config, steps=arguments.steps, profile=arguments.profile)
    if arguments.json:
        print(files.to_json(measured), end="")
    else:
        _show(config, measured)
    return 0


def _show(config: Any, measured: Mapping[str, Any]) -> None:
    import pandas as pd

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
    start, first = measured["start"], measured["first_step"]
    how = "loaded" if first["from_cache"] else "compiled"
    terminal.say(
        f"first step: {first['total']:.2f} s (tracing {first['trace']:.2f}, lowering {first['lower']:.2f},"
        f" {how} {first['compile']:.2f}); before it: data and model {start['prepare']:.2f} s, state"
        f" {start['state']:.2f} s"
    )
    memory = measured["memory"]
    terminal.say(f"peak memory of the {memory['of']}: {memory['bytes'] / 1e9:.2f} GB")
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
