"""The data card of a run: which videos it was trained on, so that it resumes on the same ones only."""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vidjax.config.flat import flatten
from vidjax.config.identity import changes, path_keys
from vidjax.config.stored import read_stored
from vidjax.data.inputs import RGB, Input
from vidjax.data.records import Source, Stream, Video
from vidjax.errors import DataError, VideoError
from vidjax.system import files

_PARTS = ("train", "validation", "test")


def write_data_card(source: Source, workdir: Path) -> None:
    """Writes `data.json` into a run directory: which data the run is trained on."""
    parts = {part: len(getattr(source, part)) for part in _PARTS}
    card = {"name": source.name, "fingerprint": source.fingerprint(), **parts, "contents": _contents(source)}
    card |= {"classes": list(source.classes), "mirror": source.mirror}
    inputs = {"inputs": _as_json(source.inputs)} if source.inputs != (RGB,) else {}
    files.write_json(workdir / "data.json", card | inputs)


def read_inputs(card: Mapping[str, Any]) -> tuple[Input, ...]:
    """The inputs of the source that a card describes."""
    return tuple(Input.from_json(each) for each in card.get("inputs") or _as_json([RGB]))


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
    card, stored = files.read_json(workdir / "data.json"), read_stored(workdir)
    now = config.to_dict()
    places = path_keys(flatten(stored), flatten(now)) if stored is not None else set()
    moved = [change for key, change in changes(stored or now, now).items() if key in places]
    elsewhere = f"{workdir} was trained on data at another path ({'; '.join(moved)})"
    if card is None or (moved and "contents" not in card):
        if moved:
            raise DataError(
                f"{elsewhere} and there is no record of their content: give the old path, or another --workdir"
            )
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
        changed = _changed_videos(card["contents"], source)
        if changed:
            raise DataError(
                f"{elsewhere}, and {len(changed)} videos there have the same names but different content, e.g."
                f" {changed[0]}: restore the data, or train in another --workdir"
            )


def _as_json(inputs: Sequence[Input]) -> list[dict[str, Any]]:
    """Returns the records of the inputs as they are after a round trip through JSON."""
    found: list[dict[str, Any]] = json.loads(json.dumps([each.to_json() for each in inputs]))
    return found


def _contents(source: Source) -> dict[str, list[int | None]]:
    names = sorted({input.stream_name for input in source.inputs})
    return {part: [_content(video, names) for video in getattr(source, part)] for part in _PARTS}


def _content(video: Video, streams: Sequence[str]) -> int | None:
    """Returns a number that tells videos apart; None if one of these streams has nothing to measure."""
    numbers = [_content_of_stream(video.streams[name]) for name in streams]
    if len(numbers) == 1:
        return numbers[0]
    return None if None in numbers else zlib.crc32(repr(numbers).encode())


def _content_of_stream(stream: Stream) -> int | None:
    """Returns the size of the file, or a checksum of frames in memory, since arrays of one shape have one size.

    None where there is nothing to be measured, as of a video that was not packed.
    """
    if stream.frames is not None:
        return zlib.crc32(stream.frames.tobytes())
    if stream.info is not None and stream.info.signature is not None:
        return stream.info.signature[0]
    try:
        return stream.file.content_size()
    except VideoError:
        return None


def _changed_videos(before: Mapping[str, list[int | None]], source: Source) -> list[str]:
    """Returns the ids of videos whose content is known both times and differs."""
    now = _contents(source)
    return [
        video.id
        for part in _PARTS
        for video, old, new in zip(getattr(source, part), before[part], now[part], strict=True)
        if None not in (old, new) and old != new
    ]
