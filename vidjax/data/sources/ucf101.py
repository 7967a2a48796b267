"""UCF101: 13,320 clips of 101 actions in 25 groups per class, with three official splits.

Soomro, Zamir and Shah 2012, "UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild".
Clips of one group come from one video, so a split that divides a group tests on what it trained on.
"""

import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from vidjax.data.records import Source, Video
from vidjax.data.sources.partition import check_parts, hash_fraction
from vidjax.errors import ConfigError, DataError

# The folder is the class; the name may spell it differently (HandstandPushups/v_HandStandPushups_g01_c01.avi).
_CLIP = re.compile(r"(?P<folder>\w+)/(?P<name>v_\w+_g(?P<group>\d+)_c\d+)\.avi", re.ASCII)


class _Line(NamedTuple):
    """A line of a split list: the class, the clip's name without suffix, the number of its group."""

    class_name: str
    name: str
    group: str


def load(*, root: str, splits: str, split: int = 1, allow_missing: bool = False, validation: float = 0.1) -> Source:
    """Returns one official split of UCF101, with validation carved out of its training list.

    Args:
      root: the folder with one subfolder of .avi clips per class ("UCF-101").
      splits: the folder with classInd.txt, trainlist0N.txt and testlist0N.txt ("ucfTrainTestlist").
      split: 1, 2 or 3.
      allow_missing: go on without clips that are listed but not there. Classes without any clip are then dropped,
        and the remaining labels are numbered anew.
      validation: share of each class's training groups that becomes the validation part: whole groups, at least
        one per class, the same ones on every machine.

    Returns:
      The source; a horizontal flip leaves the classes as they are.

    Raises:
      ConfigError: if `split` or `validation` is out of range.
      DataError: if a folder or a clip is missing, a list does not fit, a part is empty, or parts share a group.
    """
    if split not in (1, 2, 3):
        raise ConfigError(f"ucf101: split is {split}; it must be 1, 2 or 3")
    if not 0 < validation < 1:
        raise ConfigError(f"ucf101: validation is {validation}; it must lie between 0 and 1")
    folder, lists = Path(root).expanduser(), Path(splits).expanduser()
    for name, path in (("root", folder), ("splits", lists)):
        if not path.is_dir():
            raise DataError(f"ucf101: {name} {path} is not a folder")
    labels = _read_classes(lists / "classInd.txt")
    listed = {part: _read_list(lists / f"{part}list{split:02d}.txt", labels) for part in ("train", "test")}
    present = {part: [line for line in lines if _path(folder, line).is_file()] for part, lines in listed.items()}
    absent = _absent(folder, listed, present, allow_missing)
    for part, lines in present.items():
        if not lines:
            raise DataError(
                f"ucf101 split {split}: the {part} part is empty: "
                f"none of the {len(listed[part])} clips of {part}list{split:02d}.txt is in {folder}"
            )

    kept = {line.class_name for lines in present.values() for line in lines}
    classes = tuple(name for name in labels if name in kept)
    notes = []
    if absent:
        notes.append(f"{absent} of {sum(map(len, listed.values()))} listed clips are not in {folder}")
    if len(classes) < len(labels):
        notes.append(f"{len(labels) - len(classes)} of {len(labels)} classes have no clip there and are left out")
    parts = {
        part: [_video(folder, line, classes.index(line.class_name)) for line in lines]
        for part, lines in present.items()
    }
    held_out = _validation_groups(parts["train"], validation)
    parts = {
        "train": [video for video in parts["train"] if video.group not in held_out],
        "validation": [video for video in parts["train"] if video.group in held_out],
        "test": parts["test"],
    }
    check_parts(f"ucf101 split {split} in {folder}", classes, parts)
    return Source(
        name="ucf101",
        split=str(split),
        classes=classes,
        train=tuple(parts["train"]),
        validation=tuple(parts["validation"]),
        test=tuple(parts["test"]),
        mirror="invariant",
        absent=absent,
        notes=tuple(notes),
    )


def _absent(folder: Path, listed: dict[str, list[_Line]], present: dict[str, list[_Line]], allow_missing: bool) -> int:
    """Counts the listed clips that are not there; refuses them unless they may be missing."""
    there = {part: set(lines) for part, lines in present.items()}
    missing = [line for part, lines in listed.items() for line in lines if line not in there[part]]
    if not missing:
        return 0
    total = sum(len(lines) for lines in listed.values())
    if not allow_missing:
        raise DataError(
            f"ucf101: {_path(folder, missing[0])} is missing ({len(missing)} of {total} listed clips are); "
            f"--config.data.allow_missing=True goes on without them"
        )
    return len(missing)


def _path(folder: Path, line: _Line) -> Path:
    return folder / line.class_name / f"{line.name}.avi"


def _video(folder: Path, line: _Line, label: int) -> Video:
    name = f"{line.class_name}/{line.name}"
    return Video(name, str(_path(folder, line)), label, group=f"{line.class_name}_g{line.group}")


def _validation_groups(train: list[Video], share: float) -> set[str]:
    """The groups of each class with the lowest hashes; a class with a single group keeps it for training."""
    groups: dict[int, set[str]] = defaultdict(set)
    for video in train:
        groups[video.label].add(video.group)
    chosen: set[str] = set()
    for names in groups.values():
        count = min(max(1, round(share * len(names))), len(names) - 1)
        chosen.update(sorted(names, key=hash_fraction)[:count])
    return chosen


def _read_classes(path: Path) -> dict[str, int]:
    """Reads classInd.txt, lines of "number name" with numbers from 1: name -> number."""
    numbers: dict[str, int] = {}
    for number, line in _lines(path):
        match = re.fullmatch(r"(\d+)\s+(\w+)", line, re.ASCII)
        if not match or int(match[1]) != len(numbers) + 1 or match[2] in numbers:
            raise DataError(f"{path}:{number}: {line[:80]!r} is not class {len(numbers) + 1} and a new name")
        numbers[match[2]] = int(match[1])
    if not numbers:
        raise DataError(f"{path}: names no class")
    return numbers


def _read_list(path: Path, labels: dict[str, int]) -> list[_Line]:
    """Reads a list of clips; each line may end with the number of its class, which must then agree."""
    lines: dict[_Line, int] = {}
    for number, text in _lines(path):
        clip, _, label = text.partition(" ")
        match = _CLIP.fullmatch(clip)
        if not match:
            raise DataError(f"{path}:{number}: {text[:80]!r} is not written Class/v_Class_gNN_cNN.avi")
        if match["folder"] not in labels:
            raise DataError(f"{path}:{number}: class {match['folder']!r} is not in classInd.txt")
        if label.strip() and label.strip() != str(labels[match["folder"]]):
            raise DataError(
                f"{path}:{number}: {clip} has label {label.strip()!r}, "
                f"but classInd.txt numbers its class {labels[match['folder']]}"
            )
        line = _Line(match["folder"], match["name"], match["group"])
        if line in lines:
            raise DataError(f"{path}:{number}: {clip} is already in line {lines[line]}")
        lines[line] = number
    return list(lines)


def _lines(path: Path) -> list[tuple[int, str]]:
    """Numbers, from 1, and text of the lines that are not blank."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
