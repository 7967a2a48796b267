"""Splits videos into parts, and checks that a source can be trained on."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from vidjax.data.records import Source, Video, check_inputs
from vidjax.data.sources.leaks import check_parts
from vidjax.errors import DataError, OptionError


def hash_fraction(*words: object) -> float:
    """Returns a number in [0, 1) that depends on the words alone, the same on every machine."""
    digest = hashlib.sha256("\0".join(map(str, words)).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def check_fractions(source: str, validation: float, test: float = 0.0) -> None:
    """Refuses fractions that leave a part empty; `test` is 0 if no test part is split off.

    Raises:
      ConfigError: naming the source and the fractions.
    """
    if not (0 < validation < 1 and 0 <= test < 1 and validation + test < 1):
        others = f" and {{test}} ({test})" if test else ""
        raise OptionError(
            f"{source}: {{validation}} ({validation}){others} must be above 0, together below 1", ["validation", "test"]
        )


def split_by_hash(videos: Sequence[Video], fractions: Mapping[str, float], seed: int) -> dict[str, list[Video]]:
    """Splits parts off each class, by a hash of the seed and the ids; adding videos moves few others.

    Args:
      videos: to be split.
      fractions: part -> fraction of each class; at least one video, and the last one of a class stays in "train".
      seed: of the hash.

    Returns:
      Part -> its videos, in the order given; what is left is "train".
    """
    of_class: dict[int, list[Video]] = defaultdict(list)
    for video in videos:
        of_class[video.label].append(video)
    part_of: dict[str, str] = {}
    for members in of_class.values():
        order = sorted((video.id for video in members), key=lambda name: hash_fraction(seed, name))
        for part, fraction in fractions.items():
            count = min(max(1, round(fraction * len(members))), len(order) - 1)
            part_of.update(dict.fromkeys(order[:count], part))
            order = order[count:]
    parts: dict[str, list[Video]] = {"train": [], **{part: [] for part in fractions}}
    for video in videos:
        parts[part_of.get(video.id, "train")].append(video)
    return parts


def untested_classes_note(classes: Sequence[str], test: Sequence[Video]) -> list[str]:
    """Returns a note on the classes without a test video, which are not measured; empty if there are none."""
    tested = {video.label for video in test}
    missing = [name for label, name in enumerate(classes) if label not in tested]
    if not missing:
        return []
    named = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    return [f"{len(missing)} of {len(classes)} classes have no test video, and are not measured: {named}"]


def check_classes(source: str, classes: Sequence[str]) -> None:
    """Refuses a single class, as of a folder that is one level too high.

    Raises:
      DataError: naming it.
    """
    if len(classes) < 2:
        raise DataError(f"{source}: there is only one class ({', '.join(classes)}): classification needs at least two")


def check_source(name: str, source: Any) -> None:
    """Refuses an unsound source that a user's factory returns.

    Raises:
      DataError: naming what is wrong.
    """
    if not isinstance(source, Source):
        raise DataError(f"data factory {name!r} returns a {type(source).__name__}, not a vidjax.data.Source")
    check_classes(f"data factory {name!r}", source.classes)
    for each in source.inputs:
        if each.stream:
            raise DataError(
                f"data factory {name!r}: the input {each.name!r} has stream={each.stream!r}: give each stream one"
                " record of its own name, and its Stream several names where it has several records"
            )
    parts = {part: getattr(source, part) for part in ("train", "validation", "test")}
    for part, videos in parts.items():
        for video in videos:
            if not 0 <= video.label < len(source.classes):
                raise DataError(
                    f"data factory {name!r}: {video.id} in {part} has label {video.label}; there are"
                    f" {len(source.classes)} classes, from 0"
                )
        check_inputs(source.inputs, videos)
    check_parts(
        f"data factory {name!r}", source.classes, {part: v for part, v in parts.items() if v or part != "validation"}
    )
