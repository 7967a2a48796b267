"""Generates the video files of the `motion` data set once, and checks that a set is complete.

A set is made in a hidden sibling directory and renamed once its manifest, which lists every file with its size, has
been written: a killed process leaves nothing that is taken for a set. The work is shared between processes started as
`python -m vidjax.data.motion.files`, not by `multiprocessing`, which would run the caller's main module again.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import rich.console
import rich.progress

import vidjax
from vidjax.data.motion.paths import EASY, Recipe
from vidjax.data.motion.renderer import render
from vidjax.errors import DataError

# Raise it with every change of the renderer or the encoder that changes the files of a recipe.
VERSION = 2
PARTS = ("train", "validation", "test")
MANIFEST = "manifest.json"
_STALE_SECONDS = 24 * 3600.0


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which clips a set consists of.

    Attributes:
      seed: of the whole set; parts and clips derive their own from it.
      clips: number of clips of each of `PARTS`, multiples of the number of classes.
      recipe: what all clips have in common.
    """

    seed: int
    clips: tuple[int, int, int]
    recipe: Recipe = EASY

    @property
    def name(self) -> str:
        """Name of the directory: a version and a hash of everything that determines the content."""
        content = json.dumps(self.content(), sort_keys=True)
        return f"v{VERSION}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"

    def content(self) -> dict[str, Any]:
        """Everything that determines the files; fields that are None are left out, as before they existed."""
        fields = dataclasses.asdict(self)
        fields["recipe"] = {key: value for key, value in fields["recipe"].items() if value is not None}
        return fields

    def entries(self) -> Iterator[tuple[str, int, tuple[int, int, int]]]:
        """Yields (id, class index, clip seed), e.g. ("test/left/0003", 0, (0, 2, 24)); no seed twice."""
        names = self.recipe.classes.names
        for part, clips in enumerate(self.clips):
            for clip in range(clips):
                number, label = divmod(clip, len(names))
                yield f"{PARTS[part]}/{names[label]}/{number:04d}", label, (self.seed, part, clip)


def ensure(root: Path, plan: Plan, *, processes: int | None = None, progress: bool = True) -> Path:
    """Returns the directory of the set, which is generated first unless it is complete.

    Two processes may do this at once: both generate the set, and one is kept.

    Args:
      root: where sets are kept, one directory each.
      plan: which clips.
      processes: how many generate it, by default one per CPU core up to 8; the files do not depend on it.
      progress: show a progress bar on stderr.

    Raises:
      DataError: if the files cannot be written.
    """
    directory = root / plan.name
    if is_complete(directory):
        return directory
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(root)
        making = Path(tempfile.mkdtemp(prefix=f".{plan.name}-", dir=root))
        try:
            _generate(making, plan, processes or min(os.cpu_count() or 1, 8), progress)
            _write_manifest(making, plan)
            _rename_into_place(making, directory)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"{root}: cannot make the motion data set here: {error.strerror or error} "
            "(another place: the source's option root, or $VIDJAX_CACHE)"
        ) from error
    return directory


def is_complete(directory: Path) -> bool:
    """Whether there is a manifest, and every file in it has the size that it states."""
    try:
        files = json.loads((directory / MANIFEST).read_text())["files"]
        return all((directory / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def encode(path: Path, frames: np.ndarray, recipe: Recipe = EASY) -> None:
    """Writes a video file of which every frame is coded alone, with the same quantiser for every block.

    What a frame loses in coding then depends on that frame only, and tells nothing of the motion. Full
    chroma (4:4:4), so that color edges are where they were drawn.

    Args:
      path: an .avi file.
      frames: uint8 [T, H, W, 3], RGB.
      recipe: gives fps and quantiser.
    """
    _, height, width, _ = frames.shape
    quantiser = str(recipe.quantiser)
    # bitexact keeps the library's version out of the header.
    with av.open(str(path), "w", format="avi", container_options={"fflags": "+bitexact"}) as container:
        options = {"qmin": quantiser, "qmax": quantiser, "flags": "+bitexact"}
        stream = container.add_stream("mjpeg", rate=recipe.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj444p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def make_shard(directory: Path, plan: Plan, shard: int, num_shards: int) -> Iterator[str]:
    """Makes every `num_shards`-th clip, from number `shard` on; yields the id of each once it is written."""
    for number, (clip, label, seed) in enumerate(plan.entries()):
        if number % num_shards == shard:
            encode(directory / f"{clip}.avi", render(seed, label, plan.recipe), plan.recipe)
            yield clip


def _generate(directory: Path, plan: Plan, processes: int, progress: bool) -> None:
    for part in PARTS:
        for name in plan.recipe.classes.names:
            (directory / part / name).mkdir(parents=True)
    processes = min(processes, sum(plan.clips))
    with _counter(sum(plan.clips), progress) as advance:
        if processes == 1:
            for _ in make_shard(directory, plan, 0, 1):
                advance()
        else:
            _generate_in_processes(directory, plan, processes, advance)


def _generate_in_processes(directory: Path, plan: Plan, processes: int, advance) -> None:
    """Shares the clips between new Python processes, which print one line per clip."""
    package_root = str(Path(vidjax.__file__).parent.parent)
    path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    # OpenMP and BLAS threads would only compete with the other processes.
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    job = json.dumps({"directory": str(directory), **plan.content()})
    workers: list[subprocess.Popen[str]] = []
    with tempfile.TemporaryFile("w+") as errors:
        try:
            for shard in range(processes):
                command = [sys.executable, "-m", __name__, job, str(shard), str(processes)]
                workers.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.PIPE,
                        stderr=errors,
                        text=True,
                        env=environment,
                    )
                )
            readers = [threading.Thread(target=_count_lines, args=(w.stdout, advance), daemon=True) for w in workers]
            for reader in readers:
                reader.start()
            codes = [worker.wait() for worker in workers]
            for reader in readers:
                reader.join()
        finally:
            for worker in workers:
                if worker.poll() is None:
                    worker.kill()
                    worker.wait()
        if any(codes):
            errors.seek(0)
            said = errors.read().strip().splitlines() or [f"exit code {max(codes, key=abs)}"]
            raise DataError(f"{directory.parent}: making the motion data set failed: {said[-1]}")


def _count_lines(lines, advance) -> None:
    for _ in lines:
        advance()


@contextlib.contextmanager
def _counter(total: int, progress: bool):
    """Yields a function to be called once per clip; shows a bar where stderr is a terminal, else one line."""
    console = rich.console.Console(stderr=True, quiet=not progress)
    if not console.is_terminal:
        console.print(f"making the motion data set: {total} clips (once)", soft_wrap=True)
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
    )
    hidden = not (progress and console.is_terminal)
    with rich.progress.Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("making the motion data set (once)", total=total)
        yield lambda: bar.advance(task)


def _write_manifest(directory: Path, plan: Plan) -> None:
    names = [f"{clip}.avi" for clip, _, _ in plan.entries()]
    manifest = {
        "version": VERSION,
        **plan.content(),
        "files": {name: (directory / name).stat().st_size for name in names},
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1))


def _rename_into_place(making: Path, directory: Path) -> None:
    """Renames the new set to its place, unless another process was faster; replaces a damaged one."""
    if is_complete(directory):
        return
    making.chmod(0o755)  # mkdtemp makes it private
    if directory.exists():
        damaged = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        directory.rename(damaged / directory.name)
        shutil.rmtree(damaged, ignore_errors=True)
    try:
        making.rename(directory)
    except OSError:
        if not is_complete(directory):
            raise


def _remove_abandoned(root: Path) -> None:
    """Removes what killed processes have left a day ago or earlier."""
    for directory in root.glob(".v*-*-*"):
        with contextlib.suppress(OSError):
            if time.time() - directory.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(directory, ignore_errors=True)


def _work(arguments: list[str] | None = None) -> None:
    """Main of a worker process: makes its shard and prints a line per clip, for the parent's progress bar."""
    parser = argparse.ArgumentParser(description="Makes a shard of the motion data set (started by vidjax).")
    parser.add_argument("job", type=json.loads, help="directory and plan, in JSON")
    parser.add_argument("shard", type=int)
    parser.add_argument("num_shards", type=int)
    options = parser.parse_args(arguments)
    job = options.job
    # JSON has no tuples.
    fields: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in job["recipe"].items()}
    recipe = Recipe(**fields)
    plan = Plan(job["seed"], tuple(job["clips"]), recipe)
    for clip in make_shard(Path(job["directory"]), plan, options.shard, options.num_shards):
        print(clip, flush=True)


if __name__ == "__main__":
    try:
        _work()
    except OSError as failure:
        sys.exit(str(failure))
