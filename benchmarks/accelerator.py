"""Training steps on a GPU, beside PyTorch, and what vidjax's choices do there. Offline; everything is made on the spot.

  python -m benchmarks.accelerator --minutes 9                 as much as fits, into results/benchmarks/accelerator.json
  python -m benchmarks.accelerator --minutes 4                 goes on with what that file does not have yet
  python -m benchmarks.accelerator --rows 'slowfast/*' pooling   these alone; `--again` measures anew what is there
  python -m benchmarks.accelerator --list                      the rows, in order, and what each is expected to take
  python -m benchmarks.accelerator --show FILE                 the tables of such a file, as Markdown
  python -m benchmarks.accelerator --tiny --rows 'capsnet/*'   to try the program, on a CPU: the times mean nothing

Needs CPython 3.11 or later, JAX with a GPU plug-in, NumPy, flax, optax, absl-py and jaxtyping; nothing else of
requirements.txt.
The peers need PyTorch 2.9 or later with its GPU build (torch.compile also a C compiler, and Triton, which that build
brings). To a machine without a network that has JAX 0.11, NumPy and PyTorch, bring 4 MB of wheels; not what flax asks
for beyond them (Orbax, TensorStore, Treescope), since nothing here imports it:

  WHEELS="flax optax absl-py jaxtyping wadler-lindig msgpack PyYAML rich markdown-it-py mdurl pygments"
  WHEELS="$WHEELS typing_extensions"
  OF="--python-version 3.12 --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64"
  pip download -d wheels --no-deps --only-binary=:all: $OF $WHEELS
  pip install --no-index --no-deps --find-links wheels $WHEELS

Each row is a process of its own with a time limit: one that fails, or does not fit the memory, keeps its error in one
line and stops no other. The file is written whole after every row. Rows that it has are not measured again; those that
failed come after those that are missing. A row that would not fit the minutes left is passed over for a shorter one;
what is left is listed in the end, and in the file.

What is compared. vidjax: its own training step (`vidjax.training.step`) as it is compiled for one device, with its
preprocessing and its optimizer. Both take a step on the same kind of batch, uint8 clips that lie on the device already
(how fast they get there is a row of its own): normalised there, forward, loss, backward, SGD with momentum 0.9, without
dropout; a test carries weights over and compares losses. vidjax also counts top-1 and draws what each class of CapsNet
would, where its peer draws the label's. bfloat16: parameters are float32 in both, and PyTorch has autocast. float32 is
TF32 where the device has it: XLA's default precision, and in PyTorch `set_float32_matmul_precision("high")` and cuDNN's
default. PyTorch has channels last in memory, cudnn.benchmark and fused SGD, torch.compile its default mode.

A time is the median over ten blocks of steps, each waited for at its end alone; with quartiles. "first step" is
compilation, the choice of kernels and the step, with no cache of an earlier process. MFU is 6 x multiply-accumulates
of the forward pass x clips/s, over the dense peak of the device's data sheet and, in brackets, over what a product of
8192 x 8192 matrices of that type reached in JAX on it. "peak memory" is what a step holds (JAX: by XLA's plan; PyTorch:
the most allocated) and, in brackets, with what the choice of kernels took before. JAX may have 90% of the GPU's memory,
which it takes at its start; by default it has 75%.
"""

import argparse
import dataclasses
import datetime
import fnmatch
import functools
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import accelerator_rows, processes, report
from benchmarks.accelerator_rows import DTYPES, IMPLEMENTATIONS, NATIVE, Row
from benchmarks.processes import Task
from vidjax.reporting import tables
from vidjax.system import files, provenance, termination
from vidjax.system.terminal import duration

OUT = Path(__file__).resolve().parent.parent / "results" / "benchmarks" / "accelerator.json"
# Dense peaks of data sheets in TFLOP/s, by what a device's name contains: bfloat16, and float32 as TF32.
PEAKS = {
    "H100 PCIe": (756.0, 378.0),
    "H100 NVL": (835.0, 417.5),
    "H100": (989.4, 494.7),
    "H200": (989.4, 494.7),
    "A100": (312.0, 156.0),
}
_ABOUT = (
    "one batch on the device, blocks of steps waited for at their ends; 'over the better torch' below 1: vidjax is"
    " faster; MFU of the data sheet's dense peak and, in brackets, of a large matrix product measured on the device"
)
Rows = dict[str, dict[str, Any]]


def gpu() -> dict[str, str] | None:
    """The name and the driver of the first GPU; None where nvidia-smi tells nothing."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        name, driver = (part.strip() for part in answer.splitlines()[0].split(","))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return {"name": name, "driver": driver}


def chosen(rows: Sequence[Row], patterns: Sequence[str] | None) -> list[Row]:
    """The rows whose names match one of the patterns; all where there are none.

    Raises:
      SystemExit: for a pattern that matches none.
    """
    for pattern in patterns or ():
        if not any(fnmatch.fnmatchcase(row.name, pattern) for row in rows):
            raise SystemExit(f"--rows: no row is called {pattern!r}; --list names them")
    return [row for row in rows if not patterns or any(fnmatch.fnmatchcase(row.name, p) for p in patterns)]


def pending(rows: Sequence[Row], done: Rows, again: bool) -> list[Row]:
    """What is to be measured: what is missing, then what has failed; all of it, where it is measured again."""
    if again:
        return list(rows)
    missing = [row for row in rows if row.name not in done]
    return missing + [row for row in rows if "error" in done.get(row.name, {})]


class BenchmarkSession:
    """Measures rows, one after the other, and keeps the file.

    Args:
      path: of the file; None: there is none.
      tiny: as in `accelerator_rows.rows`.
      log: to which the processes' stderr is added.
      commit: of the code, where it is no repository.

    Raises:
      SystemExit: if the file is none of this program's, or has tiny rows where these are not, or the other way round.
    """

    def __init__(self, path: Path | None, tiny: bool, log: Path | None = None, commit: str | None = None):
        self._path, self._tiny, self._log = path, tiny, log
        self._gpu, self._commit = gpu(), commit or provenance.commit()
        self.done: Rows = {}
        if path is not None and path.exists():
            content = files.read_json(path)
            if not isinstance(content, dict) or "rows" not in content:
                raise SystemExit(f"{path}: was not written by this program; move it away, or give another --out")
            if content["tiny"] != tiny:
                kind = "tiny rows" if content["tiny"] else "rows of full size"
                raise SystemExit(f"{path}: has {kind}, which do not mix with these; give another --out")
            self.done = content["rows"]

    def run(self, rows: Sequence[Row], minutes: float | None) -> None:
        """Measures rows, as many as fit the minutes."""
        until = time.monotonic() + 60 * minutes if minutes else None
        waiting, number, pace = list(rows), 0, _TimeEstimator()
        with termination.sigterm_to_system_exit():
            while waiting:
                left = until - time.monotonic() if until is not None else float("inf")
                row = next((row for row in waiting if pace.expected(row) <= left), None)
                if row is None:
                    break
                waiting.remove(row)
                number += 1
                eta = min(sum(map(pace.expected, [row, *waiting])), left)
                say(f"[{number}/{len(rows)}] {row.name}  expected {duration(pace.expected(row))}  ETA {duration(eta)}")
                started = time.monotonic()
                self._measure(row, min(row.limit, left))
                pace.note(row, time.monotonic() - started)
                self._write()
        if waiting:
            say(f"no time was left for {', '.join(row.name for row in waiting)}")

    def _measure(self, row: Row, limit: float) -> None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as caches:
            environment = {
                "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS"),  # whatever JAX finds, unless the user says
                "JAX_COMPILATION_CACHE_DIR": None,
                "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.9",
                "TORCHINDUCTOR_CACHE_DIR": str(Path(caches, "inductor")),
                "TRITON_CACHE_DIR": str(Path(caches, "triton")),
                **row.environment,
            }
            started = time.monotonic()
            task = Task(row.target, row.arguments, row.name, environment=environment)
            outcome = processes.run(task, limit, self._log)
        result = {
            "arguments": dict(row.arguments),
            "environment": {name: value for name, value in row.environment.items() if value is not None},
            **({"device": self._gpu["name"]} if self._gpu else {}),
            **outcome,
            "driver": self._gpu["driver"] if self._gpu else None,
            "commit": self._commit,
            "date": datetime.date.today().isoformat(),
            "process_s": round(time.monotonic() - started, 1),
        }
        if "error" not in outcome or "error" in self.done.get(row.name, {"error": ""}):
            self.done[row.name] = result
        say(f"  {describe_result(row.name, result)}  ({duration(result['process_s'])})")

    def _write(self) -> None:
        if self._path is not None:
            files.write_json(self._path, self.content())

    def content(self) -> dict[str, Any]:
        """What the file has: all that `vidjax.reporting.readme.benchmark_block` takes, and the rows."""
        rows = list(self.done.values())
        versions = {name: version for row in rows for name, version in row.get("versions", {}).items()}
        devices = dict.fromkeys(row["device"] for row in rows if "device" in row)
        drivers = dict.fromkeys(row["driver"] for row in rows if row.get("driver"))
        drivers_in_words = f" (driver {', '.join(drivers)})" if drivers else ""
        newest = max(rows, key=lambda row: row["date"], default={})
        return {
            "about": _ABOUT,
            "hardware": f"{', '.join(devices) or '-'}{drivers_in_words}",
            "python": platform.python_version(),
            "versions": versions,
            "commit": newest.get("commit"),
            "tiny": self._tiny,
            "date": newest.get("date"),
            "tables": all_tables(self.done, self._tiny),
            "left": [row.name for row in accelerator_rows.rows(self._tiny, 1.0) if row.name not in self.done],
            "rows": self.done,
        }


class _TimeEstimator:
    """How long rows take here: as long as expected, times what those before them took over that."""

    def __init__(self) -> None:
        self._taken = self._expected = 0.0

    def note(self, row: Row, seconds: float) -> None:
        self._taken, self._expected = self._taken + seconds, self._expected + row.seconds

    def expected(self, row: Row) -> float:
        """Seconds."""
        # One row alone says little: half of all weight is the estimate's, until five minutes have been expected.
        weight = 300.0
        return row.seconds * (self._taken + weight) / (self._expected + weight)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def describe_result(name: str, result: Mapping[str, Any]) -> str:
    """A row in one line, for the terminal."""
    if "error" in result:
        marks = [
            f"{mark} {seconds:.0f}" for mark, seconds in result.items() if mark.endswith("_s") and mark != "process_s"
        ]
        return f"failed: {result['error']}" + (f"; before that {', '.join(marks)}" if marks else "")
    if "ms" in result:
        ms = result["ms"]
        found = f"{report.between(ms['median'], ms['low'], ms['high'])} ms, {result['clips_per_second']:g} clips/s"
        return f"{found}, first step {result['first_step_s']:.1f} s"
    if "matmul_tflops" in result:
        return f"{result['device']}: {json.dumps(result['matmul_tflops'])} TFLOP/s"
    if "cases" in result:
        return f"{len(result['cases'])} pools"
    if "digests" in result:
        return f"the same twice in a process: {_difference(result['repeat'])}"
    if "pageable" in result:
        return f"{result['pageable']['gb_per_second']:g} GB/s"
    return f"first {result['first_s']} s, again {result['again_s']} s"


def _difference(found: Mapping[str, Any] | None) -> str:
    return "bit-equal" if found is None else f"differs at step {found['step']}: {found['leaf']}"


def peak(device: str, dtype: str) -> float | None:
    """The dense peak of the data sheet in TFLOP/s; None of a device that is not listed."""
    found = next((peaks for name, peaks in PEAKS.items() if name in device), None)
    return found[DTYPES.index(dtype)] if found else None


def all_tables(done: Rows, tiny: bool) -> list[dict[str, Any]]:
    """The tables of the rows, for each device: {"title", "columns", "rows"} of text."""
    found = []
    for device in dict.fromkeys(row.get("device", "unknown device") for row in done.values()):
        of_device = {name: row for name, row in done.items() if row.get("device", "unknown device") == device}
        for title, columns, make in (
            ("Training steps", _STEP_COLUMNS, functools.partial(_step_rows, device=device, tiny=tiny)),
            ("Max pooling and its gradient, bfloat16", _POOL_COLUMNS, _pool_rows),
            ("A small network trained twice from one start", _DETERMINISM_COLUMNS, _determinism_rows),
            ("From host to device, uint8 clips", _TRANSFER_COLUMNS, _transfer_rows),
        ):
            if cells := make(of_device):
                found.append({"title": f"{title}, {device}", "columns": columns, "rows": cells})
    return found


_STEP_COLUMNS = ["network, batch", "type", "implementation", "ms/step (quartiles)", "clips/s"]
_STEP_COLUMNS += ["over the better torch", "MFU %", "peak memory GB", "first step s"]
_POOL_COLUMNS = ["pool", "input", "native ms (quartiles)", "vidjax's form for CPUs", "native over it", "differ by"]
_DETERMINISM_COLUMNS = ["XLA's deterministic flag", "twice in a process", "in two processes"]
_TRANSFER_COLUMNS = ["clips", "by", "memory", "ms (quartiles)", "GB/s", "clips/s"]


def _step_rows(done: Rows, device: str, tiny: bool) -> list[list[str]]:
    measured = done.get("device", {}).get("matmul_tflops", {})
    groups: dict[str, Rows] = {}
    for row in accelerator_rows.rows(tiny, 1.0):
        name, _, implementation = row.name.rpartition("/")
        if implementation in IMPLEMENTATIONS | NATIVE and row.name in done:
            groups.setdefault(name, {})[implementation] = done[row.name]
    cells = []
    for group, rows in groups.items():
        name, dtype, _ = group.split("/")
        net = accelerator_rows.network(name, tiny)
        torch = [rows[key]["ms"]["median"] for key in ("torch_eager", "torch_compile") if "ms" in rows.get(key, {})]
        for implementation, result in rows.items():
            size = result["arguments"]["size"]
            head = [
                f"{net.title}, {size} x {'x'.join(map(str, net.clip))}",
                dtype,
                (IMPLEMENTATIONS | NATIVE)[implementation],
            ]
            if "error" in result:
                cells.append([*head, f"failed: {result['error']}", *["-"] * 5])
                continue
            ms = result["ms"]
            ratio = f"{ms['median'] / min(torch):.2f}" if torch else "-"
            reached = 6 * net.macs * result["clips_per_second"] / 1e12
            of_sheet, of_product = (
                f"{100 * reached / tflops:.1f}" if reached and tflops else "-"
                for tflops in (peak(device, dtype), measured.get(dtype))
            )
            memory = [f"{mb / 1000:.1f}" if mb else "-" for mb in (result["step_mb"], result["peak_mb"])]
            cells.append(
                [
                    *head,
                    report.between(ms["median"], ms["low"], ms["high"]),
                    f"{result['clips_per_second']:,.0f}",
                    ratio,
                    f"{of_sheet} ({of_product})",
                    f"{memory[0]} ({memory[1]})",
                    f"{result['first_step_s']:.1f}",
                ]
            )
    return cells


def _pool_rows(done: Rows) -> list[list[str]]:
    cells = []
    for case in done.get("pooling", {}).get("cases", []):
        native, by_axis = case["native"], case["by_axis"]
        kind = f"{'x'.join(map(str, case['window']))} / {'x'.join(map(str, case['strides']))}"
        cells.append(
            [
                f"{case['pool']}: {kind}",
                "x".join(map(str, case["shape"])),
                *(report.between(times["median"], times["low"], times["high"]) for times in (native, by_axis)),
                f"{native['median'] / by_axis['median']:.2f}",
                f"{case['largest_difference']['gradient']:.2g}",
            ]
        )
    return cells


def _determinism_rows(done: Rows) -> list[list[str]]:
    cells = []
    for flag, title in (("flag", "set"), ("default", "not set")):
        runs = [done.get(f"determinism/{flag}/{number}", {}) for number in (1, 2)]
        told = [run["error"] for run in runs if "error" in run]
        digests = [run["digests"] for run in runs if "digests" in run]
        if not told and not digests:
            continue
        within = "; ".join(dict.fromkeys(_difference(run["repeat"]) for run in runs if "digests" in run))
        between = _difference(accelerator_rows.first_difference(*digests)) if len(digests) == 2 else "-"
        cells.append([title, within or f"failed: {told[0]}", between])
    return cells


def _transfer_rows(done: Rows) -> list[list[str]]:
    cells = []
    for framework in ("jax", "torch"):
        result = done.get(f"transfer/{framework}", {})
        for memory in ("pageable", "pinned"):
            if found := result.get(memory):
                ms = found["ms"]
                times = report.between(ms["median"], ms["low"], ms["high"])
                rates = (f"{found['gb_per_second']:.1f}", f"{found['clips_per_second']:,.0f}")
                cells.append(["x".join(map(str, result["shape"])), framework, memory, times, *rates])
    return cells


def in_markdown(content: Mapping[str, Any]) -> str:
    """The tables of a file's content, and what is left."""
    parts = [
        f"**{table['title']}**\n\n{tables.markdown(table['columns'], table['rows'])}" for table in content["tables"]
    ]
    if content["left"]:
        parts.append(f"Not measured: {', '.join(content['left'])}\n")
    return "\n".join(parts)


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Declares and reads the options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accelerator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", nargs="+", metavar="PATTERN", help="such as 'slowfast/*' or '*/vidjax' (all)")
    parser.add_argument("--again", action="store_true", help="measure rows anew that the file has")
    parser.add_argument("--minutes", type=float, help="in all; what does not fit is left for another time (no limit)")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="of each row (2 to 4 minutes, by row)")
    parser.add_argument("--seconds", type=float, help="for which a row's steps are measured (4; tiny: 0.1)")
    parser.add_argument("--tiny", action="store_true", help="tiny networks, to try the program, on a CPU, too")
    parser.add_argument("--list", action="store_true", help="only list the rows, in order, and what they should take")
    parser.add_argument("--show", type=Path, metavar="FILE", help="only show the tables of a file, as Markdown")
    help_ = f"the file ({OUT.parent.parent.name}/{OUT.parent.name}/{OUT.name}; tiny: none)"
    parser.add_argument("--out", type=Path, metavar="JSON", help=help_)
    parser.add_argument("--log", type=Path, metavar="FILE", help="to which all is added that the rows say on stderr")
    parser.add_argument("--commit", help="of the code, where it is no repository")
    arguments = parser.parse_args(argv)
    for name in ("minutes", "limit", "seconds"):
        if getattr(arguments, name) is not None and not getattr(arguments, name) > 0:
            parser.error(f"--{name} must be above 0")
    if arguments.seconds is None:
        arguments.seconds = 0.1 if arguments.tiny else 4.0
    if arguments.out is None and not arguments.tiny:
        arguments.out = OUT
    if arguments.out is not None and not (arguments.show or arguments.list):
        report.check_writable(parser, arguments.out)
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    arguments = read_arguments(argv)
    if arguments.show:
        content = files.read_json(arguments.show)
        if not isinstance(content, dict) or "tables" not in content:
            raise SystemExit(f"{arguments.show}: no such file, or none of this program's")
        print(in_markdown(content))
        return
    rows = chosen(accelerator_rows.rows(arguments.tiny, arguments.seconds), arguments.rows)
    if arguments.limit:
        rows = [dataclasses.replace(row, limit=arguments.limit) for row in rows]
    if importlib.util.find_spec("torch") is None:
        say("PyTorch is not installed: its rows are left out")
        rows = [row for row in rows if ".accelerator_torch:" not in row.target]
    campaign = BenchmarkSession(arguments.out, arguments.tiny, arguments.log, arguments.commit)
    waiting = pending(rows, campaign.done, arguments.again)
    if arguments.list:
        for row in rows:
            state = (
                "failed" if "error" in campaign.done.get(row.name, {}) else "there" if row.name in campaign.done else ""
            )
            print(f"{row.name:40} {duration(row.seconds):>6} {state}".rstrip())
        return
    total = sum(row.seconds for row in waiting)
    budget = f", of which as much as fits {arguments.minutes:g} minutes" if arguments.minutes else ""
    say(
        f"{len(waiting)} rows to measure, about {duration(total)}{budget}; {len(rows) - len(waiting)} are there already"
    )
    say(f"results: {arguments.out or 'in the terminal alone'}")
    campaign.run(waiting, arguments.minutes)
    print(in_markdown(campaign.content()))


if __name__ == "__main__":
    main()
