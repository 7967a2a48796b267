"""A data set that `python -m vidjax pack` made, on a disk or in an object store."""

import json
import os
from typing import Any

from vidjax.data.opening import one_line
from vidjax.data.packed import DATASET, FORMAT, Packed, check_answer, is_remote, read_record
from vidjax.data.records import Source, Video, VideoInfo
from vidjax.data.sources.partition import check_mirror
from vidjax.errors import ConfigError, DataError


def load(*, root: str, mirror: str | None = None) -> Source:
    """Returns the packed data set: name, split, classes, videos and their order are those of what was packed.

    Args:
      root: the folder of shards; gs://BUCKET/FOLDER for one in Google Cloud Storage.
      mirror: what a horizontal flip does to the classes, "invariant" (nothing) or "forbidden" (it may change them);
        None: what was packed says so. Where classes are exchanged (those of motion), nothing else can be said.

    Returns:
      The source.

    Raises:
      ConfigError: if `mirror` is neither, or contradicts what was packed.
      DataError: if there is no packed data set, or one of another version of vidjax.
    """
    check_mirror("packed", mirror)
    folder = (root if is_remote(root) else os.path.expanduser(root)).rstrip("/")
    path = f"{folder}/{DATASET}"
    if not is_remote(root) and not os.path.isfile(path):
        raise DataError(f"packed: data.root={root} holds no {DATASET}; `python -m vidjax pack` makes a packed data set")
    if is_remote(root):
        check_answer(path)
    try:
        content = json.loads(read_record(path, 0))
        found = content["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"packed: {path} is no list of packed videos: {one_line(error)}") from error
    if found != FORMAT:
        raise DataError(f"packed: {path} has format {found}, this vidjax reads {FORMAT}: pack it again")
    parts: dict[str, Any] = {
        part: tuple(_video(folder, dict(zip(content["columns"], row, strict=True))) for row in content[part])
        for part in ("train", "validation", "test")
    }
    streams = [stream for videos in parts.values() for video in videos for stream in video.streams.values()]
    shards = {stream.packed.shard for stream in streams if stream.packed is not None}
    missing = [] if is_remote(root) else sorted(shard for shard in shards if not os.path.isfile(shard))
    if missing:
        raise DataError(f"packed: {len(missing)} of {len(shards)} shards are missing: {missing[0]}")
    rule: Any = mirror or content["mirror"]
    if mirror is not None and isinstance(content["mirror"], list):
        raise ConfigError(f"packed: data.mirror={mirror}, but mirror images exchange classes of {content['name']}")
    return Source(
        name=content["name"],
        split=content["split"],
        classes=tuple(content["classes"]),
        **parts,
        mirror=tuple(rule) if isinstance(rule, list) else rule,
        absent=content["absent"],
        notes=tuple(content["notes"]),
    )


def _video(folder: str, row: dict[str, Any]) -> Video:
    about = {"id": row["id"], "label": row["label"], "group": row["group"]}
    if row["refused"]:
        return Video.of(path=row["name"], refused=row["refused"], **about)
    place = Packed(f"{folder}/{row['shard']}", row["number"], row["name"], (row["size"], int(row["digest"], 16)))
    info = VideoInfo(row["frames"], row["fps"], row["height"], row["width"])
    return Video.of(path=str(place), info=info, packed=place, **about)
