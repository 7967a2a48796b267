"""A data set that `python -m vidjax pack` made, on a disk or in an object store."""

import json
import os
from typing import Annotated, Any

from vidjax.data.flip_rule import FlipRuleOption, check_flip_rule
from vidjax.data.inputs import RGB, Input
from vidjax.data.packed.frames import ShardFrames
from vidjax.data.packed.records import DATASET, FORMAT_OF_FRAMES, FORMAT_OF_RGB, FORMAT_OF_STREAMS
from vidjax.data.packed.shards import ShardFile, check_answer, is_remote, read_record
from vidjax.data.records import Source, Stream, Video
from vidjax.data.video.checks import one_line
from vidjax.data.video.info import VideoInfo
from vidjax.errors import DataError, OptionDataError, OptionError
from vidjax.options.declaring import Option


def load(*, root: Annotated[str, Option("folder of shards")], mirror: FlipRuleOption = None) -> Source:
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
    check_flip_rule("packed", mirror)
    folder = (root if is_remote(root) else os.path.expanduser(root)).rstrip("/")
    path = f"{folder}/{DATASET}"
    if not is_remote(root) and not os.path.isfile(path):
        raise OptionDataError(
            f"packed: {{root}}={root} holds no {DATASET}; `python -m vidjax pack` makes a packed data set", ["root"]
        )
    if is_remote(root):
        check_answer(path)
    try:
        content = json.loads(read_record(path, 0))
        found = content["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"packed: {path} is not a list of packed videos: {one_line(error)}") from error
    known = (FORMAT_OF_RGB, FORMAT_OF_STREAMS, FORMAT_OF_FRAMES)
    if found not in known:
        numbers = ", ".join(map(str, known))
        raise DataError(f"packed: {path} has format {found}, this vidjax reads {numbers}: pack it again")
    parts: dict[str, Any] = {
        part: tuple(_video(folder, row, content) for row in content[part]) for part in ("train", "validation", "test")
    }
    streams = [stream for videos in parts.values() for video in videos for stream in video.streams.values()]
    shards = {stream.packed.shard for stream in streams if stream.packed is not None}
    missing = [] if is_remote(root) else sorted(shard for shard in shards if not os.path.isfile(shard))
    if missing:
        raise DataError(f"packed: {len(missing)} of {len(shards)} shards are missing: {missing[0]}")
    rule: Any = mirror or content["mirror"]
    if mirror is not None and isinstance(content["mirror"], list):
        raise OptionError(
            f"packed: {{mirror}}={mirror}, but mirror images exchange classes of {content['name']}", ["mirror"]
        )
    return Source(
        name=content["name"],
        split=content["split"],
        classes=tuple(content["classes"]),
        **parts,
        mirror=tuple(rule) if isinstance(rule, list) else rule,
        num_missing_clips=content["absent"],
        notes=tuple(content["notes"]),
        inputs=tuple(map(Input.from_json, content["inputs"])) if "inputs" in content else (RGB,),
    )


def _video(folder: str, values: list[Any], content: dict[str, Any]) -> Video:
    row = dict(zip(content["columns"], values, strict=True))
    if "streams" in row:
        columns = content["stream_columns"]
        rows = {name: dict(zip(columns, of_stream, strict=True)) for name, of_stream in row["streams"].items()}
    else:
        rows = {RGB.stream_name: row}
    streams = {name: _stream(folder, of_stream, content) for name, of_stream in rows.items()}
    return Video(row["id"], row["label"], row["group"], streams)


def _stream(folder: str, row: dict[str, Any], content: dict[str, Any]) -> Stream:
    if row["refused"]:
        return Stream(row["name"], refused=row["refused"])
    shard, number, name = f"{folder}/{row['shard']}", row["number"], row["name"]
    content_id = (row["size"], int(row["digest"], 16))
    info = VideoInfo(row["frames"], row["fps"], row["height"], row["width"])
    place = ShardFile(shard, number, name, content_id)
    if content["format"] == FORMAT_OF_FRAMES:
        place = ShardFrames(shard, number, name, content_id, info, content["codec"], content["short_side"])
    return Stream(str(place), info=info, packed=place)
