"""Whether two commands mean the same run: by their configs, and by the data that these name."""

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vidjax import configuration, files, sections
from vidjax.configuration import flatten
from vidjax.data.inputs import RGB, Input
from vidjax.data.opening import identity
from vidjax.data.records import Source, Stream, Video
from vidjax.errors import DataError, VideoError

# Keys that change how fast a run goes, or what is shown of it, but not what is trained, up to rounding: they may differ
# on resume.
_FREE_KEYS = {
    "checkpoint.every",
    "checkpoint.keep",
    "data.cache",
    "data.cache_gigabytes",
    "data.max_bad_fraction",
    "data.threads",
    "data.workers",
    "evaluate.batch_size",
    "evaluate.samples",
    "keep_memory",
    "native_convolutions",
    "train.log_every",
}
_PARTS = ("train", "validation", "test")


def hash_of(config: ConfigDict) -> str:
    """Returns a short hash of the keys that were given: a key that is declared later changes no hash.

    A key that was renamed counts under its first name.
    """
    flat = {
        configuration.RENAMED.get(key, key): value
        for key, value in flatten(config).items()
        if key not in _FREE_KEYS and value is not None
    }
    return hashlib.sha256(json.dumps(flat, sort_keys=True).encode()).hexdigest()[:12]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns "key: old -> new" for each key whose value differs between two nested configs.

    Keys that change no number of a run (reading threads, cache) are left out; absent counts as None.
    """
    return list(_changes(old, new).values())


def differences_but_places(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns `differences` without those that only say where the data lie: these `check_data_card` judges."""
    places = _place_keys(flatten(old), flatten(new))
    return [change for key, change in _changes(old, new).items() if key not in places]


def write_data_card(source: Source, workdir: Path) -> None:
    """Notes in a run directory which data the run is trained on."""
    parts = {part: len(getattr(source, part)) for part in _PARTS}
    card = {"name": source.name, "fingerprint": source.fingerprint(), **parts, "contents": _contents(source)}
    inputs = {"inputs": _as_json(source.inputs)} if source.inputs != (RGB,) else {}
    files.write_json(workdir / "data.json", card | inputs)


def check_data_card(config: ConfigDict, source: Source, workdir: Path) -> None:
    """Refuses data other than those that the run in `workdir` was trained on: training videos could be tested.

    Where they lie elsewhere, or packed, the content of the videos must be the same, too.

    Args:
      config: as it is now.
      source: that it names.
      workdir: of the run.

    Raises:
      DataError: naming what differs.
    """
    card, stored = files.read_json(workdir / "data.json"), configuration.read_stored(workdir)
    now = config.to_dict()
    places = _place_keys(flatten(stored), flatten(now)) if stored is not None else set()
    moved = [change for key, change in _changes(stored or now, now).items() if key in places]
    elsewhere = f"{workdir} was trained on data that lay elsewhere ({'; '.join(moved)})"
    if card is None or (moved and "contents" not in card):
        if moved:
            raise DataError(f"{elsewhere} and does not say what was in them: give the old place, or another --workdir")
        return
    if card["fingerprint"] != source.fingerprint():
        parts = {part: f"{card[part]} -> {len(getattr(source, part))}" for part in _PARTS}
        raise DataError(
            f"{workdir} was trained on other videos, labels or parts of {card['name']}"
            f" (videos: {', '.join(f'{part} {change}' for part, change in parts.items())}):"
            " restore the data, or train in another --workdir"
        )
    before = {each["name"]: each for each in card.get("inputs") or _as_json([RGB])}
    for each in _as_json(source.inputs):
        fields = [key for key, value in each.items() if before.get(each["name"], {}).get(key) != value]
        if fields:
            raise DataError(
                f"{workdir} was trained on {each['name']!r} with another {' and '.join(fields)}: restore the record of"
                " that input, or train in another --workdir"
            )
    if moved:
        changed = _changed(card["contents"], source)
        if changed:
            raise DataError(
                f"{elsewhere}, and {len(changed)} videos there have the same names and other content, e.g."
                f" {changed[0]}: restore the data, or train in another --workdir"
            )


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    old, new = flatten(old), flatten(new)
    lines = {}
    for key in sorted((old.keys() | new.keys()) - _FREE_KEYS):
        # Through JSON, where tuples are lists and floats are written alike.
        before, after = (json.dumps(side.get(key)) for side in (old, new))
        if before != after:
            lines[key] = f"{key}: {before} -> {after}"
    return lines


def _place_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> set[str]:
    """Keys of two flat configs that say where the data lie; with one packed, all that chose what was packed, too."""
    keys = {"data.root", "data.splits", "data.annotations"}
    if (old.get("data.name") == "packed") != (new.get("data.name") == "packed"):
        given = {key for key in old.keys() | new.keys() if key.startswith("data.")}
        places = ("name", "factory")
        keys |= given - {f"data.{key}" for key in sections.KEYS["data"] if key not in places} - {"data.mirror"}
    return keys


def _as_json(inputs: Sequence[Input]) -> list[dict[str, Any]]:
    """The records of what is read, as JSON gives them back."""
    found: list[dict[str, Any]] = json.loads(json.dumps([each.to_json() for each in inputs]))
    return found


def _contents(source: Source) -> dict[str, list[int | None]]:
    names = sorted({input.stream_name for input in source.inputs})
    return {part: [_content(video, names) for video in getattr(source, part)] for part in _PARTS}


def _content(video: Video, streams: Sequence[str]) -> int | None:
    """A number that another video hardly has; None where there is nothing to be measured of one of these streams."""
    numbers = [_content_of_stream(video.streams[name]) for name in streams]
    if len(numbers) == 1:
        return numbers[0]
    return None if None in numbers else zlib.crc32(repr(numbers).encode())


def _content_of_stream(stream: Stream) -> int | None:
    """The size of the file, or a checksum of frames in memory. Arrays of one shape have one size.

    None where there is nothing to be measured, as of a video that was not packed.
    """
    if stream.frames is not None:
        return zlib.crc32(stream.frames.tobytes())
    if stream.packed is not None:
        return int(stream.packed.identity[0])
    if stream.info is not None and stream.info.identity is not None:
        return stream.info.identity[0]
    try:
        return identity(stream.path)[0]
    except VideoError:
        return None


def _changed(before: Mapping[str, list[int | None]], source: Source) -> list[str]:
    """Ids of the videos whose content is known both times, and differs."""
    now = _contents(source)
    return [
        video.id
        for part in _PARTS
        for video, old, new in zip(getattr(source, part), before[part], now[part], strict=True)
        if None not in (old, new) and old != new
    ]
