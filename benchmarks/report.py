"""Output and common options of the benchmarks: tables, samples, and the machine and versions they are from."""

import argparse
import datetime
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.worker import threads
from vidjax.errors import ConfigError
from vidjax.system import files, provenance, terminal

if TYPE_CHECKING:
    import pandas as pd  # slow to import: callers have already done so


def write(
    path: Path,
    tables: Mapping[str, "pd.DataFrame"],
    samples: Any,
    *,
    about: str,
    packages: Sequence[str] = (),
    elsewhere: Mapping[str, str] = types.MappingProxyType({}),
    tiny: bool = False,
) -> None:
    """Writes a JSON file from which `python -m vidjax readme` makes a block of docs/benchmarks.md.

    Args:
      path: of the file.
      tables: title -> table of text cells.
      samples: all measurements.
      about: short description of what was measured.
      packages: whose versions are recorded if they are installed.
      elsewhere: versions of those that are installed in other folders.
      tiny: whether tiny inputs were used, whose times mean nothing.
    """
    content = {
        "about": about,
        "hardware": _cpu(),
        "python": platform.python_version(),
        "versions": {name: version for name in packages if (version := elsewhere.get(name) or _version(name))},
        "commit": provenance.commit(),
        "tiny": tiny,
        "date": datetime.date.today().isoformat(),
        "tables": [
            {"title": title, "columns": list(frame.columns), "rows": frame.values.tolist()}
            for title, frame in tables.items()
        ],
        "samples": samples,
    }
    files.write_json(path, content)


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The median and the range, e.g. "12.3 (11.9 to 12.8)"; "-" without values.

    Args:
      values: one per round.
      digits: significant digits.
    """
    return between(statistics.median(values), min(values), max(values), digits) if values else "-"


def between(middle: float, low: float, high: float, digits: int = 3) -> str:
    """Three numbers as "12.3 (11.9 to 12.8)", all with as many decimals as the first one needs."""
    decimals = max(0, digits - len(f"{abs(middle):.0f}")) if abs(middle) >= 1 else digits - 1
    middle, low, high = (f"{value:,.{decimals}f}" for value in (middle, low, high))  # type: ignore[assignment]
    return f"{middle} ({low} to {high})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The ratio of the medians, and the range of the ratios of all rounds; "-" without values."""
    if not ours or not theirs:
        return "-"
    by_round = [a / b for a, b in zip(ours, theirs)]
    return between(statistics.median(ours) / statistics.median(theirs), min(by_round), max(by_round))


def better(candidates: Sequence[Sequence[float]]) -> Sequence[float]:
    """The non-empty candidate with the smallest median; () if all are empty."""
    return min(filter(None, candidates), key=statistics.median, default=())


def add_choice(parser: argparse.ArgumentParser, flag: str, names: Mapping[str, Any]) -> None:
    """Adds an option that takes some of these names, by default all."""
    help_ = f"choose from {', '.join(names)} (default: all)"
    parser.add_argument(flag, nargs="+", choices=list(names), default=list(names), metavar="NAME", help=help_)


def read_arguments(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    implementations: Mapping[str, str],
    of_torch: Sequence[str],
    *,
    seconds: float,
) -> argparse.Namespace:
    """Declares and parses the options of a benchmark that measures implementations in separate processes.

    Args:
      parser: of the benchmark, with its own options.
      argv: None: the arguments of the program.
      implementations: name -> title.
      of_torch: names of the PyTorch implementations, which are dropped if PyTorch is not installed.
      seconds: the default of --seconds.
    """
    add_choice(parser, "--implementations", implementations)
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds (default 3)")
    help_ = f"duration of each measurement (default {seconds:g})"
    parser.add_argument("--seconds", type=float, default=seconds, help=help_)
    parser.add_argument("--tiny", action="store_true", help="tiny inputs, to try the program: times mean nothing")
    parser.add_argument("--out", type=Path, metavar="JSON", help="write the results to this file")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1 or arguments.seconds <= 0:
        parser.error("--rounds and --seconds must be above 0")
    if arguments.out:
        check_writable(parser, arguments.out)
    arguments.implementations = without_missing_torch(arguments.implementations, implementations, of_torch)
    return arguments


def check_writable(parser: argparse.ArgumentParser, path: Path) -> None:
    """Exits now, rather than after the measurements, if the file cannot be written."""
    try:
        files.check_file(path, f"--out={path}")
    except ConfigError as error:
        parser.error(str(error))


def publish(arguments: argparse.Namespace, tables: Mapping[str, "pd.DataFrame"], samples: Any) -> None:
    """Prints the tables and, with --out, writes them together with the samples.

    Args:
      arguments: of `read_arguments`.
      tables: title -> table of text cells.
      samples: all measurements.
    """
    for title, frame in tables.items():
        terminal.table(frame, title)
    if arguments.out:
        about = f"{arguments.rounds} rounds of {arguments.seconds:g} s per implementation, {threads()} threads"
        packages = ("jax", "jaxlib", "flax", "optax", "onednn-cpu-gomp", "torch")
        write(arguments.out, tables, samples, about=about, packages=packages, tiny=arguments.tiny)


def used(outcomes: Iterable[Mapping[str, Any]]) -> str:
    """What computed vidjax's convolutions in these processes, for the title of a table; "" if none did."""
    names = sorted({outcome["convolutions"] for outcome in outcomes if "convolutions" in outcome})
    return f"; vidjax by {' or '.join(names)}" if names else ""


def without_missing_torch(names: Sequence[str], titles: Mapping[str, str], of_torch: Sequence[str]) -> list[str]:
    """Drops the PyTorch implementations, with a message, if PyTorch is not installed.

    Raises:
      SystemExit: if none are left.
    """
    missing = [name for name in names if name in of_torch] if importlib.util.find_spec("torch") is None else []
    if missing:
        left_out = " and ".join(titles[name] for name in missing)
        terminal.say(f"skipping {left_out}: PyTorch is not installed; pip install -r requirements-bench.txt")
    if len(missing) == len(names):
        raise SystemExit(1)
    return [name for name in names if name not in missing]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        lines = [line.partition(":")[::2] for line in Path("/proc/cpuinfo").read_text().splitlines()]
    except OSError:
        lines = []
    facts = {key.strip(): value.strip() for key, value in lines}
    name = facts.get("model name") or platform.processor() or platform.machine()
    # Model names may say little; these flags matter for convolutions.
    has = [flag for flag in ("avx2", "avx512f", "amx_tile") if flag in facts.get("flags", "").split()]
    return f"CPU, {cores} cores ({', '.join([name, *has])})"
