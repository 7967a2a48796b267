"""Compares training steps on a GPU with PyTorch, and measures other operations there. Works offline on synthetic data.

  python -m benchmarks.accelerator --minutes 9                 what fits, into results/benchmarks/accelerator.json
  python -m benchmarks.accelerator --minutes 4                 continue with the rows that are missing in that file
  python -m benchmarks.accelerator --rows 'slowfast/*' pooling   only these; --rerun measures existing rows again
  python -m benchmarks.accelerator --list                      list the rows, in order, with their expected durations
  python -m benchmarks.accelerator --show FILE                 show the tables of a file, as Markdown
  python -m benchmarks.accelerator --tiny --rows 'capsnet/*'   to try the program on a CPU: times mean nothing

Requires CPython 3.11 or later, JAX with a GPU plugin, NumPy, flax, optax, absl-py and jaxtyping; nothing else of
requirements.txt. The PyTorch rows require a GPU build of PyTorch 2.9 or later (torch.compile also a C compiler and
Triton, which is part of that build). For an offline machine with JAX 0.11, NumPy and PyTorch, copy these 4 MB of
wheels; other dependencies of flax (Orbax, TensorStore, Treescope) are not imported here:

  WHEELS="flax optax absl-py jaxtyping wadler-lindig msgpack PyYAML rich markdown-it-py mdurl pygments"
  WHEELS="$WHEELS typing_extensions"
  OF="--python-version 3.12 --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64"
  pip download -d wheels --no-deps --only-binary=:all: $OF $WHEELS
  pip install --no-index --no-deps --find-links wheels $WHEELS

Each row is a separate process with a time limit: a row that fails, or does not fit into memory, records its error in
one line and does not affect the others. The file is written after every row. Rows that it already has are not
measured again; failed rows are retried after the missing ones. A row that would not fit into the remaining minutes is
skipped in favor of a shorter one; what remains is listed at the end, and in the file.

What is compared. vidjax: its training step (`vidjax.training.step`) as compiled for one device, with its
preprocessing and its optimizer. All implementations take steps on the same kind of batch, uint8 clips that are
already on the device (transfers are a row of their own): normalization on the device, forward, loss, backward, SGD
with momentum 0.9, without dropout; a test transfers weights and compares losses. In addition, vidjax computes top-1
and, for CapsNet, the reconstructions of all classes, where PyTorch only computes that of the label. bfloat16:
parameters are float32 in both, and PyTorch uses autocast. float32 is TF32 if the device supports it: XLA's default
precision, and in PyTorch `set_float32_matmul_precision("high")` and cuDNN's default. PyTorch uses the channels-last
memory format, cudnn.benchmark and fused SGD, and torch.compile in its default mode.

Times are medians over ten blocks of steps, with quartiles; the host waits only at the end of each block. "first step"
includes compilation and autotuning, without caches of earlier processes. MFU is 6 x multiply-accumulates of the
forward pass x clips/s, relative to the dense peak of the device's data sheet and, in brackets, to what a product of
8192 x 8192 matrices of that type reached in JAX. "peak memory" is the memory of a step (JAX: by XLA's plan; PyTorch:
maximum allocated) and, in brackets, including autotuning. JAX may allocate 90% of the GPU's memory, which it reserves
at its start; the default is 75%.
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
    "one batch on the device, blocks of steps; 'over the better torch' below 1: vidjax is faster; MFU relative to the"
    " data sheet's dense peak and, in brackets, to a large matrix product measured on the device"
)
Rows = dict[str, dict[str, Any]]


def gpu() -> dict[str, str] | None:
    """Name and driver of the first GPU; None if nvidia-smi fails."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        name, driver = (part.strip() for part in answer.splitlines()[0].split(","))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return {"name": name, "driver": driver}


def chosen(rows: Sequence[Row], patterns: Sequence[str] | None) -> list[Row]:
    """The rows whose names match one of the patterns; all rows without patterns.

    Raises:
      SystemExit: for a pattern without a match.
    """
    for pattern in patterns or ():
        if not any(fnmatch.fnmatchcase(row.name, pattern) for row in rows):
            raise SystemExit(f"--rows: no row matches {pattern!r}; use --list to see all rows")
    return [row for row in rows if not patterns or any(fnmatch.fnmatchcase(row.name, p) for p in patterns)]


def pending(rows: Sequence[Row], done: Rows, rerun: bool) -> list[Row]:
    """The rows to measure: missing ones, then failed ones; all of them with `rerun`."""
    if rerun:
        return list(rows)
    missing = [row for row in rows if row.name not in done]
    return missing + [row for row in rows if "error" in done.get(row.name, {})]


class BenchmarkSession:
    """Measures rows one at a time and maintains the result file.

    Args:
      path: of the file; None: no file.
      tiny: as in `accelerator_rows.rows`.
      log: file to append the stderr output of the processes to.
      commit: of the code, if it is not in a repository.

    Raises:
      SystemExit: if the file was not written by this program, or only one of file and session has tiny rows.
    """

    def __init__(self, path: Path | None, tiny: bool, log: Path | None = None, commit: str | None = None):
        self._path, self._tiny, self._log = path, tiny, log
        self._gpu, self._commit = gpu(), commit or provenance.commit()
        self.done: Rows = {}
        if path is not None and path.exists():
            content = files.read_json(path)
            if not isinstance(content, dict) or "rows" not in content:
                raise SystemExit(f"{path}: was not written by this program; move it away or choose another --out")
            if content["tiny"] != tiny:
                kind = "tiny rows" if content["tiny"] else "rows of full size"
                raise SystemExit(f"{path}: has {kind}, which cannot be mixed with these; choose another --out")
            self.done = content["rows"]

    def run(self, rows: Sequence[Row], minutes: float | None) -> None:
        """Measures as many rows as fit into the minutes."""
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
                print_status(
                    f"[{number}/{len(rows)}] {row.name}  expected {duration(pace.expected(row))}  ETA {duration(eta)}"
                )
                started = time.monotonic()
                self._measure(row, min(row.limit, left))
                pace.note(row, time.monotonic() - started)
                self._write()
        if waiting:
            print_status(f"no time left for {', '.join(row.name for row in waiting)}")

    def _measure(self, row: Row, limit: float) -> None:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as caches:
            environment = {
                "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS"),  # any device that JAX finds, unless set by the user
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
        print_status(f"  {describe_result(row.name, result)}  ({duration(result['process_s'])})")

    def _write(self) -> None:
        if self._path is not None:
            files.write_json(self._path, self.content())

    def content(self) -> dict[str, Any]:
        """The content of the file: the rows, and what `vidjax.reporting.readme.benchmark_block` needs."""
        rows = list(self.done.values())
        versions = {name: version for row in rows for name, version in row.get("versions", {}).items()}
        devices = dict.fromkeys(row["device"] for row in rows if "device" in row)
        drivers = dict.fromkeys(row["driver"] for row in rows if row.get("driver"))
        driver_note = f" (driver {', '.join(drivers)})" if drivers else ""
        newest = max(rows, key=lambda row: row["date"], default={})
        return {
            "about": _ABOUT,
            "hardware": f"{', '.join(devices) or '-'}{driver_note}",
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
    """Scales the expected durations by those of the rows so far."""

    def __init__(self) -> None:
        self._taken = self._expected = 0.0

    def note(self, row: Row, seconds: float) -> None:
        self._taken, self._expected = self._taken + seconds, self._expected + row.seconds

    def expected(self, row: Row) -> float:
        """The estimated duration of a row in seconds."""
        # A single row says little: up to five expected minutes, the prior has at least half of the weight.
        weight = 300.0
        return row.seconds * (self._taken + weight) / (self._expected + weight)


def print_status(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def describe_result(name: str, result: Mapping[str, Any]) -> str:
    """The result of a row in one line."""
    if "error" in result:
        marks = [
            f"{mark} {seconds:.0f}" for mark, seconds in result.items() if mark.endswith("_s") and mark != "process_s"
        ]
        return f"failed: {result['error']}" + (f"; reached {', '.join(marks)}" if marks else "")
    if "ms" in result:
        ms = result["ms"]
        found = f"{report.between(ms['median'], ms['low'], ms['high'])} ms, {result['clips_per_second']:g} clips/s"
        return f"{found}, first step {result['first_step_s']:.1f} s"
    if "matmul_tflops" in result:
        return f"{result['device']}: {json.dumps(result['matmul_tflops'])} TFLOP/s"
    if "cases" in result:
        return f"{len(result['cases'])} pools"
    if "digests" in result:
        return f"two runs in one process: {_difference(result['repeat'])}"
    if "pageable" in result:
        return f"{result['pageable']['gb_per_second']:g} GB/s"
    return f"first call {result['first_s']} s, second call {result['again_s']} s"


def _difference(found: Mapping[str, Any] | None) -> str:
    return "bit-equal" if found is None else f"differs at step {found['step']}: {found['leaf']}"


def peak(device: str, dtype: str) -> float | None:
    """The dense peak of the data sheet in TFLOP/s; None for an unknown device."""
    found = next((peaks for name, peaks in PEAKS.items() if name in device), None)
    return found[DTYPES.index(dtype)] if found else None


def all_tables(done: Rows, tiny: bool) -> list[dict[str, Any]]:
    """The tables of the rows, per device: {"title", "columns", "rows"} of text cells."""
    found = []
    for device in dict.fromkeys(row.get("device", "unknown device") for row in done.values()):
        of_device = {name: row for name, row in done.items() if row.get("device", "unknown device") == device}
        for title, columns, make in (
            ("Training steps", _STEP_COLUMNS, functools.partial(_step_rows, device=device, tiny=tiny)),
            ("Max pooling and its gradient, bfloat16", _POOL_COLUMNS, _pool_rows),
            ("A small network trained twice from the same state", _DETERMINISM_COLUMNS, _determinism_rows),
            ("Host-to-device transfer, uint8 clips", _TRANSFER_COLUMNS, _transfer_rows),
        ):
            if cells := make(of_device):
                found.append({"title": f"{title}, {device}", "columns": columns, "rows": cells})
    return found


_STEP_COLUMNS = ["network, batch", "type", "implementation", "ms/step (quartiles)", "clips/s"]
_STEP_COLUMNS += ["over the better torch", "MFU %", "peak memory GB", "first step s"]
_POOL_COLUMNS = [
    "pool",
    "input",
    "native ms (quartiles)",
    "vidjax for CPUs ms",
    "native / vidjax for CPUs",
    "difference",
]
_DETERMINISM_COLUMNS = ["XLA's deterministic flag", "within a process", "across processes"]
_TRANSFER_COLUMNS = ["clips", "framework", "memory", "ms (quartiles)", "GB/s", "clips/s"]


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
        errors = [run["error"] for run in runs if "error" in run]
        digests = [run["digests"] for run in runs if "digests" in run]
        if not errors and not digests:
            continue
        within = "; ".join(dict.fromkeys(_difference(run["repeat"]) for run in runs if "digests" in run))
        between = _difference(accelerator_rows.first_difference(*digests)) if len(digests) == 2 else "-"
        cells.append([title, within or f"failed: {errors[0]}", between])
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
    """The tables of a file's content, and the missing rows."""
    parts = [
        f"**{table['title']}**\n\n{tables.markdown(table['columns'], table['rows'])}" for table in content["tables"]
    ]
    if content["left"]:
        parts.append(f"Not measured: {', '.join(content['left'])}\n")
    return "\n".join(parts)


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Declares and parses the options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accelerator",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        metavar="PATTERN",
        help="e.g. 'slowfast/*' or '*/vidjax' (default: all)",
    )
    parser.add_argument("--rerun", action="store_true", help="also measure rows that the file already has")
    parser.add_argument("--minutes", type=float, help="time budget; rows that do not fit are skipped (default: none)")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="timeout of each row (default: 2 to 4 minutes)")
    parser.add_argument("--seconds", type=float, help="duration of each measurement (default: 4; tiny: 0.1)")
    parser.add_argument("--tiny", action="store_true", help="tiny networks, to try the program, also on a CPU")
    parser.add_argument("--list", action="store_true", help="list the rows with their expected durations, and exit")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the tables of a file as Markdown, and exit")
    help_ = f"result file (default: {OUT.parent.parent.name}/{OUT.parent.name}/{OUT.name}; tiny: none)"
    parser.add_argument("--out", type=Path, metavar="JSON", help=help_)
    parser.add_argument("--log", type=Path, metavar="FILE", help="append the stderr output of the rows to this file")
    parser.add_argument("--commit", help="commit of the code, if it is not in a repository")
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
            raise SystemExit(f"{arguments.show}: no such file, or not written by this program")
        print(in_markdown(content))
        return
    rows = chosen(accelerator_rows.rows(arguments.tiny, arguments.seconds), arguments.rows)
    if arguments.limit:
        rows = [dataclasses.replace(row, limit=arguments.limit) for row in rows]
    if importlib.util.find_spec("torch") is None:
        print_status("PyTorch is not installed: skipping its rows")
        rows = [row for row in rows if ".accelerator_torch:" not in row.target]
    session = BenchmarkSession(arguments.out, arguments.tiny, arguments.log, arguments.commit)
    waiting = pending(rows, session.done, arguments.rerun)
    if arguments.list:
        for row in rows:
            state = (
                "failed" if "error" in session.done.get(row.name, {}) else "done" if row.name in session.done else ""
            )
            print(f"{row.name:40} {duration(row.seconds):>6} {state}".rstrip())
        return
    total = sum(row.seconds for row in waiting)
    budget = f", as many as fit into {arguments.minutes:g} minutes" if arguments.minutes else ""
    print_status(
        f"{len(waiting)} rows to measure, about {duration(total)}{budget}; {len(rows) - len(waiting)} are already done"
    )
    print_status(f"results: {arguments.out or 'only printed'}")
    session.run(waiting, arguments.minutes)
    print(in_markdown(session.content()))


if __name__ == "__main__":
    main()
