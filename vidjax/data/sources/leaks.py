"""Refuses leaks: a video, file or group that is in more than one of train, validation and test."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence

from vidjax.data.records import Video
from vidjax.errors import DataError, DuplicateError, EmptyPartError, LeakError


def check_parts(source: str, classes: Sequence[str], parts: Mapping[str, Sequence[Video]]) -> None:
    """Refuses parts that are empty or share a video, a file or a group, and classes that cannot be learned.

    Args:
      source: how messages name the source.
      classes: class names, in label order.
      parts: the videos of "train", "validation" and "test".

    Raises:
      DataError: naming the part, the video, the group or the class at fault.
    """
    for part, videos in parts.items():
        if not videos:
            raise EmptyPartError(f"{source}: the {part} part is empty: too few videos, or none for it")
    repeated = [name for name, n in Counter(v.id for videos in parts.values() for v in videos).items() if n > 1]
    if repeated:
        raise DuplicateError(f"{source}: {repeated[0]} occurs twice; names must be unique even without their suffix")
    owner: dict[str, str] = {}
    for part, videos in parts.items():
        for video in videos:
            other = owner.setdefault(video.group, part)
            if other != part:
                raise LeakError(f"{source}: group {video.group} is in both {other} and {part}; {video.id} leaks")
    _check_files(source, parts)
    learned = {video.label for video in parts["train"]}
    for label, name in enumerate(classes):
        if label not in learned:
            raise DataError(f"{source}: class {name} has no video in the train part")


def _check_files(source: str, parts: Mapping[str, Sequence[Video]]) -> None:
    """Refuses a file that is in two parts under two names, e.g. by a link."""
    owner: dict[tuple[int, int], tuple[str, str]] = {}
    for part, videos in parts.items():
        for video, stream in ((each, stream) for each in videos for stream in each.streams.values()):
            if stream.frames is not None:
                continue
            try:
                status = os.stat(stream.path)
            except OSError:  # reading it gives the reason
                continue
            other, first = owner.setdefault((status.st_dev, status.st_ino), (part, video.id))
            if other != part:
                raise LeakError(f"{source}: {first} in {other} and {video.id} in {part} are one and the same file")
