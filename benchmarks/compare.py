"""Shows what changed beyond noise between two runs of a benchmark.

  python -m benchmarks.compare OLD.json NEW.json

The files are written by --out of benchmarks.input, train_step, convolutions and routing. For each quantity in both
files, the output shows the medians, their ratio, and whether it changed. A quantity changed if the ratio differs from
1 by more than 3% and the ranges do not overlap: the ranges from the lowest to the highest round or, where single
clips were timed rather than rounds, the 95% confidence intervals of the medians, from order statistics. One round has
no range. The ranges of 3 rounds are disjoint by chance in 1 of 10 cases, those of 5 rounds in 1 of 126: of the dozens
of quantities of a file a few, or hardly one. Use 5 rounds to be sure.

Exit status: 0; 2 if the files cannot be compared; with --fail-slower 1 if vidjax got slower beyond noise (longer
times or fewer clips per second). Other implementations do not count: if they changed, so did the machine.
"""

import argparse
import functools
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmarks.train_step import medians
from vidjax.errors import DataError
from vidjax.system import files, terminal

THRESHOLD = 0.03


class Quantity(NamedTuple):
    """A measured quantity.

    Attributes:
      unit: "ms", "s", "MB" or "clips/s"; only for the last, higher is better.
      median: of all samples.
      low, high: range of the noise; None if unknown.
      is_ours: whether it depends on vidjax.
    """

    unit: str
    median: float
    low: float | None
    high: float | None
    is_ours: bool


Quantities = dict[tuple[str, ...], Quantity]


def from_rounds(unit: str, values: Sequence[float], is_ours: bool) -> Quantity:
    """From one value per round."""
    if len(values) == 1:
        return Quantity(unit, values[0], None, None, is_ours)
    return Quantity(unit, statistics.median(values), min(values), max(values), is_ours)


def from_single_samples(unit: str, values: Sequence[float], is_ours: bool) -> Quantity:
    """From single measurements, with a 95% confidence interval of the median (Conover 1999, section 3.2)."""
    ordered, count = sorted(values), len(values)
    rank = max(0, math.floor(count / 2 - 0.98 * math.sqrt(count)))
    return Quantity(unit, statistics.median(ordered), ordered[rank], ordered[-1 - rank], is_ours)


def _input(samples: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Quantity]]:
    for pattern, readers in samples["readers"].items():
        for reader, values in readers.items():
            if found := [value for value in values if value == value]:
                yield (
                    (f"{pattern} frames", reader, "CPU"),
                    from_single_samples("ms", found, reader.startswith("vidjax")),
                )
    for setting in samples["pipeline"]:
        how = f"cache {setting['cache']}, {setting['threads']} threads, {setting['processes']} processes"
        through = [rate for rate, _ in setting["rates"]]
        yield (how, "vidjax", "through Grain"), from_rounds("clips/s", through, True)
        if bare := [rate for _, rate in setting["rates"] if rate is not None]:
            yield (how, "vidjax", "bare reader"), from_rounds("clips/s", bare, True)


_OF_STEP = (
    ("cold", "wall_ms", "step", "ms"),
    ("cold", "cpu_ms", "step, CPU", "ms"),
    ("cold", "first_step_s", "first step, cold", "s"),
    ("warm", "first_step_s", "first step, warm", "s"),
    ("cold", "compile_s", "compile, cold", "s"),
    ("warm", "compile_s", "compile, warm", "s"),
    ("cold", "peak_mb", "peak memory", "MB"),
)


def _train_step(samples: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Quantity]]:
    for model, implementations in samples["train_step"].items():
        for name, of_this in implementations.items():
            for start, key, title, unit in _OF_STEP:
                if of_this[start] and "failed" not in of_this:
                    yield (model, name, title), from_rounds(unit, medians(of_this[start], key), name == "vidjax")


def _passes(key: str, samples: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Quantity]]:
    for operation, implementations in samples[key].items():
        for name, outcomes in implementations.items():
            if "error" in outcomes[0]:
                continue
            for kind in outcomes[0]:
                for clock, title in (("wall_ms", kind), ("cpu_ms", f"{kind}, CPU")):
                    values = medians([outcome[kind] for outcome in outcomes], clock)
                    yield (operation, name, title), from_rounds("ms", values, name == "vidjax")


# Key of a benchmark's samples -> how to read them.
_BENCHMARKS: dict[str, Callable[[Mapping[str, Any]], Iterator[tuple[tuple[str, ...], Quantity]]]] = {
    "readers": _input,
    "train_step": _train_step,
    "convolutions": functools.partial(_passes, "convolutions"),
    "routing": functools.partial(_passes, "routing"),
}


class Result(NamedTuple):
    """The content of a benchmark file.

    Attributes:
      benchmark: name of the benchmark.
      circumstances: hardware, description and package versions, by name.
      quantities: the measured quantities.
    """

    benchmark: str
    circumstances: dict[str, str]
    quantities: Quantities


def read(path: Path) -> Result:
    """Reads a benchmark file.

    Raises:
      DataError: if it is not one.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    content = files.read_json(path)
    if content is None:
        raise DataError(f"{path}: is not JSON")
    samples = content.get("samples") if isinstance(content, dict) else None
    for key, quantities in _BENCHMARKS.items():
        if isinstance(samples, dict) and key in samples:
            try:
                versions = {**content["versions"], "python": content["python"]}
                size = "tiny" if content.get("tiny") else "whole"
                circumstances = {"hardware": content["hardware"], "measured": content["about"], "size": size}
                circumstances |= versions
                return Result("input" if key == "readers" else key, circumstances, dict(quantities(samples)))
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                raise DataError(f"{path}: is an incomplete benchmark result ({error!r})") from error
    raise DataError(f"{path}: is not a benchmark result; write one with --out")


def verdict(old: Quantity, new: Quantity) -> str:
    """The change in a word ("faster", "slower", "more", "less"); "" if it is within noise or the noise is unknown."""
    if old.low is None or old.high is None or new.low is None or new.high is None:
        return ""
    overlap = new.low <= old.high and old.low <= new.high
    if overlap or min(old.median, new.median) <= 0 or abs(new.median / old.median - 1) <= THRESHOLD:
        return ""
    is_more = new.median > old.median
    if old.unit == "MB":
        return "more" if is_more else "less"
    return "slower" if is_more != (old.unit == "clips/s") else "faster"


def comparison(old: Quantities, new: Quantities) -> pd.DataFrame:
    """One row per quantity that both have."""
    rows = []
    for key in (key for key in old if key in new):
        before, after = old[key], new[key]
        cells = map(_with_noise, (before, after))
        ratio = f"{after.median / before.median:.3f}" if before.median > 0 else "-"
        rows.append((" ".join(key), verdict(before, after) or "-", ratio, before.unit, *cells))
    heads = ["quantity", "change", "new / old", "unit", "old (noise)", "new (noise)"]
    return pd.DataFrame(rows, columns=heads)


def _with_noise(quantity: Quantity) -> str:
    noise = "?" if quantity.low is None else f"{quantity.low:.4g} to {quantity.high:.4g}"
    return f"{quantity.median:.4g} ({noise})"


def compare(old: Result, new: Result, show_all: bool = False) -> bool:
    """Prints the changes.

    Args:
      old, new: results of the same benchmark.
      show_all: whether to show unchanged quantities, too.

    Returns:
      Whether vidjax got slower.

    Raises:
      DataError: if they have no quantity in common, or only one used tiny inputs.
    """
    if old.benchmark != new.benchmark:
        raise DataError(f"results of different benchmarks: {old.benchmark} and {new.benchmark}")
    if old.circumstances["size"] != new.circumstances["size"]:
        raise DataError("only one of the results was measured with --tiny")
    both = [key for key in old.quantities if key in new.quantities]
    if not both:
        raise DataError("the results have no quantity in common")
    for name in sorted(old.circumstances.keys() & new.circumstances.keys()):
        before, after = old.circumstances[name], new.circumstances[name]
        if before != after:
            terminal.say(f"different {name}: {before}, then {after}")
    frame = comparison(old.quantities, new.quantities)
    changed = frame[frame["change"] != "-"]
    if len(frame if show_all else changed):
        terminal.table(frame if show_all else changed, f"Changed beyond noise: {len(changed)} of {len(frame)}")
    else:
        terminal.say(f"none of {len(frame)} quantities changed beyond noise")
    for name, one, other in (("old", old, new), ("new", new, old)):
        if only := [key for key in one.quantities if key not in other.quantities]:
            terminal.say(f"only in the {name} result: {len(only)} quantities, e.g. {', '.join(only[0])}")
    if unknown := sum(old.quantities[key].low is None or new.quantities[key].low is None for key in both):
        terminal.say(f"{unknown} quantities have a single round, so their noise is unknown")
    verdicts = {key: verdict(old.quantities[key], new.quantities[key]) for key in both}
    if foreign := [key for key, word in verdicts.items() if word and not old.quantities[key].is_ours]:
        terminal.say(f"{len(foreign)} of the changes are not in vidjax: the machine or the packages changed, too")
    return any(word == "slower" and old.quantities[key].is_ours for key, word in verdicts.items())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, metavar="OLD.json")
    parser.add_argument("new", type=Path, metavar="NEW.json")
    parser.add_argument("--all", action="store_true", help="also show unchanged quantities")
    parser.add_argument("--fail-slower", action="store_true", help="exit with status 1 if vidjax got slower")
    arguments = parser.parse_args(argv)
    try:
        is_slower = compare(read(arguments.old), read(arguments.new), arguments.all)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return int(is_slower and arguments.fail_slower)


if __name__ == "__main__":
    sys.exit(main())
