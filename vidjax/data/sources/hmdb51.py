"""HMDB51: 6,766 clips of 51 actions from movies and web videos, with three official splits.

Kuehne, Jhuang, Garrote, Poggio and Serre 2011, "HMDB: A Large Video Database for Human Motion Recognition".
Each split has 70 training and 30 test clips per class; the other clips are left out of it. Clips of one video
share the beginning of their name, before the class.
"""

import os
import re
from pathlib import Path
from typing import Annotated

from vidjax.data.records import Source
from vidjax.data.sources.listed import ListedClip, build_listed_source
from vidjax.data.sources.shared_options import AllowMissing, Split, Validation, folders_of_official_split
from vidjax.data.sources.user_paths import numbered_lines
from vidjax.errors import DataError, DuplicateError, MissingFileError
from vidjax.options.declaring import Option

_CLASSES = 51
_OFFICIAL = {"train": 70, "test": 30}  # clips per class, section 4.1
_PARTS = {"0": None, "1": "train", "2": "test"}


def load(
    *,
    root: Annotated[str, Option("folder of videos")],
    splits: Annotated[str, Option("folder of the official lists")],
    split: Split = 1,
    allow_missing: AllowMissing = False,
    validation: Validation = 0.1,
) -> Source:
    """Returns one official split of HMDB51, with validation carved out of its training list.

    The paper draws no training and test clip of a class from the same video. Two classes may well share a video, so
    a group is a video within a class.

    Args:
      root: the folder with one subfolder of .avi clips per class ("hmdb51_org", each archive in it unpacked).
      splits: the folder with CLASS_test_splitN.txt ("testTrainMulti_7030_splits").
      split: 1, 2 or 3.
      allow_missing: skip listed clips that are missing. Classes without any clip are then dropped, and the remaining
        labels are renumbered.
      validation: fraction of each class's training groups that becomes the validation part: whole groups, at least
        one per class, the same ones on every machine.

    Returns:
      The source; classes in alphabetical order; a horizontal flip leaves them as they are. Should an official list
      train on a video that it also tests, those training clips are left out, and `notes` says so.

    Raises:
      ConfigError: if `split` or `validation` is out of range.
      DataError: if a folder or a clip is missing, a list does not fit, or a part is empty.
    """
    folder, lists = folders_of_official_split("hmdb51", root, splits, split, validation)
    ending = f"_test_split{split}.txt"
    files = {path.name.removesuffix(ending): path for path in lists.glob(f"*{ending}") if path.name != ending}
    if not files:
        raise MissingFileError(f"hmdb51: splits {lists} has no list CLASS{ending}")
    classes = sorted(files)
    listed: dict[str, list[ListedClip]] = {"train": [], "test": []}
    unusual = 0
    for class_name in classes:
        clips = _read_list(files[class_name], class_name, folder)
        unusual += {part: len(members) for part, members in clips.items()} != _OFFICIAL
        for part, members in clips.items():
            listed[part] += members
    notes = []
    if len(classes) != _CLASSES:
        notes.append(f"{lists} has split {split} of {len(classes)} classes; HMDB51 has {_CLASSES}")
    if unusual:
        notes.append(f"the lists of {unusual} classes do not name 70 training and 30 test clips, as official ones do")
    return build_listed_source(
        "hmdb51",
        str(split),
        classes,
        listed,
        root=folder,
        validation=validation,
        allow_missing=allow_missing,
        mirror="invariant",
        drop_overlap=True,
        notes=notes,
    )


def _read_list(path: Path, class_name: str, folder: Path) -> dict[str, list[ListedClip]]:
    """Reads lines of "clip.avi N": N is 1 for training, 2 for the test, 0 for neither."""
    clips: dict[str, list[ListedClip]] = {"train": [], "test": []}
    lines: dict[str, int] = {}
    for number, line in numbered_lines(path):
        match = re.fullmatch(r"(?P<name>[^/\\\0]+)\.avi\s+(?P<part>[012])", line)
        if not match:
            raise DataError(f"{path}:{number}: {line[:80]!r} is not written CLIP.avi and 0, 1 or 2")
        name = match["name"]
        if name in lines:
            raise DuplicateError(f"{path}:{number}: {name}.avi is already in line {lines[name]}")
        lines[name] = number
        part = _PARTS[match["part"]]
        if part is not None:
            clips[part].append(_clip(folder / class_name / f"{name}.avi", class_name))
    if not lines:
        raise DataError(f"{path}: names no clip")
    return clips


def _clip(path: Path, class_name: str) -> ListedClip:
    """E.g. April_09_brush_hair_u_nm_np1_ba_goo_0: the video April_09, the class, then what the clip shows."""
    video = path.stem.rpartition(f"_{class_name}_")[0] or path.stem
    return ListedClip(f"{class_name}/{path.stem}", path, class_name, f"{class_name}/{video}", os.path.isfile(path))
