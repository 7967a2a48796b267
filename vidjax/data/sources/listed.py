"""Builds sources from lists of clips, of which some may be missing on this disk."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vidjax.data.flip_rule import FlipRule
from vidjax.data.records import Source, Video
from vidjax.data.sources.leaks import check_parts
from vidjax.data.sources.partition import hash_fraction, untested_classes_note
from vidjax.errors import EmptyPartError, OptionDataError


class ListedClip(NamedTuple):
    """A clip that a list names.

    Attributes:
      id: as in `Video`.
      path: where it is, or should be.
      class_name: its label.
      group: as in `Video`.
      present: whether the file or folder exists.
    """

    id: str
    path: Path
    class_name: str
    group: str
    present: bool


def build_listed_source(
    name: str,
    split: str,
    classes: Sequence[str],
    listed: Mapping[str, Sequence[ListedClip]],
    *,
    root: Path,
    validation: float,
    allow_missing: bool,
    mirror: FlipRule,
    drop_overlap: bool = False,
    notes: Sequence[str] = (),
) -> Source:
    """Returns the source that lists describe, after the checks that every source passes.

    Args:
      name: of the source.
      split: as the result row shows it.
      classes: all class names, in label order. One without any clip on this disk is left out, and the labels
        behind it are numbered anew.
      listed: the clips of "train", "test" and, where the lists have it, "validation".
      root: the folder of the clips, for messages.
      validation: fraction of each class's training groups that becomes the validation part if none is listed.
      allow_missing: go on without clips that are listed but not there; they are counted.
      mirror: the rule for horizontal flips.
      drop_overlap: leave out training clips whose group has a test clip, and say how many; without it, such a
        group is an error.
      notes: what the user should know besides.

    Raises:
      DataError: if a clip is missing, or a part or class cannot be used, see `check_parts`.
    """
    missing = _count_missing(name, listed, allow_missing)
    total = sum(map(len, listed.values()))
    present = {part: [clip for clip in clips if clip.present] for part, clips in listed.items()}
    for part, clips in present.items():
        if listed[part] and not clips:
            raise EmptyPartError(
                f"{name} (split {split}): the {part} part is empty:"
                f" none of its {len(listed[part])} listed clips is in {root}"
            )
    remarks = list(notes)
    if missing:
        remarks.append(f"{missing} of {total} listed clips are not in {root}")
    if drop_overlap:
        before, present["train"] = len(present["train"]), _untested_groups(present)
        if len(present["train"]) < before:
            remarks.append(
                f"{before - len(present['train'])} of {before} training clips are left out:"
                " the test list has clips of the same videos"
            )
    there = {clip.class_name for clips in present.values() for clip in clips}
    left = tuple(class_name for class_name in classes if class_name in there)
    if len(left) < len(classes):
        remarks.append(f"{len(classes) - len(left)} of {len(classes)} classes have no clip there and are left out")
    parts = _parts(present, left, validation)
    check_parts(f"{name} (split {split}) in {root}", left, parts)
    return Source(
        name=name,
        split=split,
        classes=left,
        train=tuple(parts["train"]),
        validation=tuple(parts["validation"]),
        test=tuple(parts["test"]),
        mirror=mirror,
        num_missing_clips=missing,
        notes=(*remarks, *untested_classes_note(left, parts["test"])),
    )


def validation_groups(train: Sequence[Video], fraction: float) -> set[str]:
    """Chooses whole groups for validation: of each class those with the lowest hashes, at least one of two.

    The choice is the same on every machine. No class loses all of its groups, not even where groups have clips of
    several classes.

    Args:
      train: the training clips.
      fraction: of each class's groups.
    """
    groups: dict[int, set[str]] = defaultdict(set)
    for video in train:
        groups[video.label].add(video.group)
    needed = {name for names in groups.values() if len(names) == 1 for name in names}
    chosen: set[str] = set()
    for names in groups.values():
        count = min(max(1, round(fraction * len(names))), len(names) - 1)
        chosen.update(sorted(names - needed, key=hash_fraction)[:count])
    # A class may still have lost all its groups to the choices of other classes.
    for names in groups.values():
        if names <= chosen:
            chosen.remove(max(names, key=hash_fraction))
    return chosen


def _count_missing(name: str, listed: Mapping[str, Sequence[ListedClip]], allow_missing: bool) -> int:
    """Counts the missing clips; refuses them unless that is allowed."""
    missing = [clip for clips in listed.values() for clip in clips if not clip.present]
    if missing and not allow_missing:
        total = sum(map(len, listed.values()))
        raise OptionDataError(
            f"{name}: {missing[0].path} is missing ({len(missing)} of {total} listed clips); "
            "set {allow_missing}=True to skip them",
            ["allow_missing"],
        )
    return len(missing)


def _untested_groups(present: Mapping[str, Sequence[ListedClip]]) -> list[ListedClip]:
    """The training clips of groups that are not tested."""
    tested = {clip.group for clip in present["test"]}
    return [clip for clip in present["train"] if clip.group not in tested]


def _parts(
    present: Mapping[str, Sequence[ListedClip]], classes: Sequence[str], validation: float
) -> dict[str, list[Video]]:
    labels = {name: label for label, name in enumerate(classes)}
    videos = {
        part: [Video.of(clip.id, str(clip.path), labels[clip.class_name], clip.group) for clip in clips]
        for part, clips in present.items()
    }
    if "validation" in videos:
        return {part: videos[part] for part in ("train", "validation", "test")}
    held_out = validation_groups(videos["train"], validation)
    return {
        "train": [video for video in videos["train"] if video.group not in held_out],
        "validation": [video for video in videos["train"] if video.group in held_out],
        "test": videos["test"],
    }
