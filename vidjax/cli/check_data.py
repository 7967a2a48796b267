"""Inspects video files: which can be read, how fast, and what is wrong with the others.

Each file is decoded in order, in a separate process that may crash. A file is refused if it is no regular file of a
known container, has no video, cannot be decoded, is a playlist, or claims to be too large. Then it is decoded again
from each keyframe; if that gives other frames, or its format does not allow seeking ("slow path"), vidjax always
decodes it from the beginning. The findings are cached for training, until a file changes.

Examples:
  python -m vidjax check-data UCF-101
  python -m vidjax check-data my_videos clip.mp4 --out index.csv

For a folder that `pack` wrote, it lists the videos that were refused then. Exit status 1 if any is refused.
"""

import argparse
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from vidjax.cli import refuse_overrides
from vidjax.data.packed.records import DATASET
from vidjax.data.sources import packed
from vidjax.data.video import index
from vidjax.data.video.discovery import videos_below
from vidjax.data.video.inspection import FileRecord
from vidjax.errors import ConfigError, DataError, printable
from vidjax.system import files, terminal
from vidjax.system.paths import typed_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    parser.add_argument("paths", nargs="+", metavar="PATH", type=typed_path, help="a video, or a folder of videos")
    parser.add_argument(
        "--out", metavar="CSV", type=typed_path, help="also write the findings on each file to this table"
    )
    parser.add_argument("--jobs", metavar="N", type=int, help="number of parallel jobs (default: one per core)")


def run(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Prints the table; exit status 1 if a file is refused."""
    refuse_overrides("check-data", overrides)
    if arguments.jobs is not None and arguments.jobs < 1:
        raise ConfigError(f"--jobs {arguments.jobs}: give at least 1")
    if arguments.out:
        files.check_file(arguments.out, f"--out={arguments.out}")
    if any((path / DATASET).is_file() for path in arguments.paths):
        if len(arguments.paths) > 1 or arguments.out:
            raise ConfigError("check-data takes a packed data set alone, and without --out")
        return _show_packed(arguments.paths[0])
    paths: list[str] = []
    others = 0
    for path in arguments.paths:
        below, passed = videos_below(path)
        paths += below
        others += passed
    if not paths:
        raise DataError(f"no video below {', '.join(map(str, arguments.paths))}")
    found = index.inspect_files(
        paths,
        jobs=arguments.jobs,
        progress=lambda records, total: terminal.track(records, total, "checking", "files"),
    )
    records = [found[path] for path in dict.fromkeys(paths)]
    if arguments.out:
        index.write_csv(arguments.out, records)
    return _show(records, others)


def _show(records: Sequence[FileRecord], others: int) -> int:
    slow, refused = ([record for record in records if record.verdict == verdict] for verdict in ("slow", "refused"))
    for record in records:
        if record.warning:
            terminal.say(
                f"warning: {printable(record.path)}: {record.warning}; its first {record.frames} frames are used"
            )
        if not _is_utf8(record.path):
            terminal.say(f"warning: {printable(record.path)}: its name is not valid UTF-8; rename it before training")
    for record in refused:
        terminal.say(f"refused: {printable(record.path)}: {printable(record.reason)}")
    fine = ("ok", len(records) - len(slow) - len(refused), "seeking is exact")
    rows = [fine, *_grouped("slow path", slow), *_grouped("refused", refused)]
    terminal.table(pd.DataFrame(rows, columns=["verdict", "files", "why"]))
    if others:
        skipped = f"{others} other files were" if others != 1 else "1 other file was"
        terminal.say(f"{skipped} skipped, not named like a video")
    return 1 if refused else 0


def _show_packed(folder: Path) -> int:
    source = packed.load(root=str(folder))
    videos = [video for part in (source.train, source.validation, source.test) for video in part]
    refused = [video for video in videos if video.refused is not None]
    for note in source.notes:
        terminal.say(f"note: {note}")
    for video in refused:
        terminal.say(f"refused: {printable(video.id)}: {video.refused}")
    packed_count = len(videos) - len(refused)
    rows = [("packed", packed_count, "checked when it was packed"), ("refused", len(refused), "not packed")]
    terminal.table(pd.DataFrame(rows, columns=["verdict", "files", "why"]))
    return 1 if refused else 0


def _grouped(verdict: str, records: Sequence[FileRecord]) -> list[tuple[str, int, str]]:
    """Verdict, count, reason; numbers in reasons do not tell them apart."""
    reasons = Counter(re.sub(r"\d+", "N", printable(record.reason)) for record in records)
    return [(verdict, count, why) for why, count in reasons.most_common()]


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
