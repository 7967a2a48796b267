"""UCF101: 13,320 clips of 101 actions in 25 groups per class, with three official splits.

Soomro, Zamir and Shah 2012, "UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild".
Clips of one group come from one video, so a split that divides a group tests on what it trained on.
"""

import os
import re
from pathlib import Path
from typing import Annotated

from vidjax.data.records import Source
from vidjax.data.sources.listed import ListedClip, build_listed_source
from vidjax.data.sources.shared_options import AllowMissing, Split, Validation, folders_of_official_split
from vidjax.data.sources.user_paths import numbered_lines
from vidjax.errors import DataError, DuplicateError
from vidjax.options.declaring import Option

# The folder is the class; the name may spell it differently (HandstandPushups/v_HandStandPushups_g01_c01.avi).
_CLIP = re.compile(r"(?P<folder>\w+)/(?P<name>v_\w+_g(?P<group>\d+)_c\d+)\.avi", re.ASCII)


def load(
    *,
    root: Annotated[str, Option("folder of videos")],
    splits: Annotated[str, Option("folder of the official lists (classInd.txt and so on)")],
    split: Split = 1,
    allow_missing: AllowMissing = False,
    validation: Validation = 0.1,
) -> Source:
    """Returns one official split of UCF101, with validation carved out of its training list.

    Args:
      root: the folder with one subfolder of .avi clips per class ("UCF-101").
      splits: the folder with classInd.txt, trainlist0N.txt and testlist0N.txt ("ucfTrainTestlist").
      split: 1, 2 or 3.
      allow_missing: skip listed clips that are missing. Classes without any clip are then dropped, and the remaining
        labels are renumbered.
      validation: fraction of each class's training groups that becomes the validation part: whole groups, at least
        one per class, the same ones on every machine.

    Returns:
      The source; a horizontal flip leaves the classes as they are.

    Raises:
      ConfigError: if `split` or `validation` is out of range.
      DataError: if a folder or a clip is missing, a list does not fit, a part is empty, or parts share a group.
    """
    folder, lists = folders_of_official_split("ucf101", root, splits, split, validation)
    labels = _read_classes(lists / "classInd.txt")
    listed = {part: _read_list(lists / f"{part}list{split:02d}.txt", labels, folder) for part in ("train", "test")}
    return build_listed_source(
        "ucf101",
        str(split),
        list(labels),
        listed,
        root=folder,
        validation=validation,
        allow_missing=allow_missing,
        mirror="invariant",
    )


def _read_classes(path: Path) -> dict[str, int]:
    """Reads classInd.txt, lines of "number name" with numbers from 1: name -> number."""
    numbers: dict[str, int] = {}
    for number, line in numbered_lines(path):
        match = re.fullmatch(r"(\d+)\s+(\w+)", line, re.ASCII)
        if not match or int(match[1]) != len(numbers) + 1 or match[2] in numbers:
            raise DataError(f"{path}:{number}: {line[:80]!r} is not class {len(numbers) + 1} and a new name")
        numbers[match[2]] = int(match[1])
    if not numbers:
        raise DataError(f"{path}: names no class")
    return numbers


def _read_list(path: Path, labels: dict[str, int], folder: Path) -> list[ListedClip]:
    """Reads a list of clips; each line may end with the number of its class, which must then agree."""
    clips: list[ListedClip] = []
    lines: dict[str, int] = {}
    for number, text in numbered_lines(path):
        clip, _, label = text.partition(" ")
        match = _CLIP.fullmatch(clip)
        if not match:
            raise DataError(f"{path}:{number}: {text[:80]!r} is not written Class/v_Class_gNN_cNN.avi")
        class_name = match["folder"]
        if class_name not in labels:
            raise DataError(f"{path}:{number}: class {class_name!r} is not in classInd.txt")
        if label.strip() and label.strip() != str(labels[class_name]):
            raise DataError(
                f"{path}:{number}: {clip} has label {label.strip()!r}, "
                f"but classInd.txt numbers its class {labels[class_name]}"
            )
        if clip in lines:
            raise DuplicateError(f"{path}:{number}: {clip} is already in line {lines[clip]}")
        lines[clip] = number
        place = folder / clip
        identity, group = clip.removesuffix(".avi"), f"{class_name}_g{match['group']}"
        clips.append(ListedClip(identity, place, class_name, group, os.path.isfile(place)))
    return clips
