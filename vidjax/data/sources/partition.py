"""What every source must hold before it may be trained on: parts that are filled and do not overlap."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from vidjax.data.records import Video
from vidjax.errors import DataError


def hash_fraction(*words: object) -> float:
    """Returns a number in [0, 1) that depends on the words alone, the same on every machine."""
    digest = hashlib.sha256("\0".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def check_parts(source: str, classes: Sequence[str], parts: Mapping[str, Sequence[Video]]) -> None:
    """Refuses parts that are empty or share a video or a group, and classes that cannot be learnt.

    Args:
      source: how messages name the source.
      classes: class names, in label order.
      parts: the videos of "train", "validation" and "test".

    Raises:
      DataError: naming the part, the video, the group or the class at fault.
    """
    for part, videos in parts.items():
        if not videos:
            raise DataError(f"{source}: the {part} part is empty: too few videos, or none for it")
    repeated = [name for name, n in Counter(v.id for videos in parts.values() for v in videos).items() if n > 1]
    if repeated:
        raise DataError(f"{source}: {repeated[0]} is there twice; names must be unique, without their suffix too")
    owner: dict[str, str] = {}
    for part, videos in parts.items():
        for video in videos:
            other = owner.setdefault(video.group, part)
            if other != part:
                raise DataError(f"{source}: group {video.group} is in both {other} and {part}; {video.id} leaks")
    learnt = {video.label for video in parts["train"]}
    for label, name in enumerate(classes):
        if label not in learnt:
            raise DataError(f"{source}: class {name} has no video in the train part")
