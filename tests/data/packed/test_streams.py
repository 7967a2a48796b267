"""Packed data sets of several streams."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader

from vidjax import data
from vidjax.data.indexing import with_file_info
from vidjax.data.packed.packing import pack
from vidjax.data.packed.records import DATASET
from vidjax.data.records import Stream
from vidjax.data.sources import packed
from vidjax.data.streams import read_frames


def test_streams_are_packed_one_by_one(walks, tmp_path):
    done = pack(walks, tmp_path / "walks", shard_bytes=100_000)
    content = json.loads(ArrayRecordReader(str(tmp_path / "walks" / DATASET)).read([0])[0])
    assert content["format"] == 3 and content["columns"] == ["id", "label", "group", "streams"]
    theirs = packed.load(root=str(tmp_path / "walks"))
    assert theirs.inputs == walks.inputs and theirs.fingerprint() == walks.fingerprint()
    assert {part: (each.videos, each.refused) for part, each in done.items()} == {
        "train": (4, {}),
        "validation": (1, {}),
        "test": (1, {}),
    }
    sizes = [os.path.getsize(stream.path) for video in walks.train for stream in video.streams.values()]
    assert done["train"].bytes == sum(sizes) and done["train"].shards > 1
    record = ArrayRecordReader(str(tmp_path / "walks" / "train-00000.arrayrecord")).read([1])[0]
    header, ((name, flow),) = data.unpack(record)
    assert (header["stream"], header["name"], name) == ("flow", "flow0.npy", "flow0.npy")
    assert flow == Path(walks.train[0].streams["flow"].path).read_bytes()
    for video, other in zip(with_file_info(walks).train, with_file_info(theirs).train, strict=True):
        assert list(other.streams) == ["rgb", "flow", "pose"]
        for input in walks.inputs:
            ours, packed_stream = (each.streams[input.stream_name] for each in (video, other))
            assert ours.info == packed_stream.info
            got, wanted = (read_frames(each, input, [7, 3, 3]) for each in (packed_stream, ours))
            np.testing.assert_array_equal(got, wanted)


def test_a_stream_that_is_refused_leaves_the_others(walks, tmp_path):
    (tmp_path / "bad.npy").write_text("no numbers")
    streams = {**walks.train[0].streams, "flow": Stream(str(tmp_path / "bad.npy"))}
    damaged = (dataclasses.replace(walks.train[0], streams=streams), *walks.train[1:])
    done = pack(dataclasses.replace(walks, train=damaged), tmp_path / "walks")
    reason = "is not an array: give a .npy file, as numpy.save writes it"
    assert done["train"].videos == 3 and done["train"].refused == {"v0": f"flow: {reason}"}
    video = packed.load(root=str(tmp_path / "walks")).train[0]
    assert video.refused.startswith("flow ") and video.refused.endswith(f": {reason}")
    assert video.streams["flow"].packed is None
    assert read_frames(video.streams["pose"], walks.inputs[2], [0]).shape == (1, 3, 3)


def test_a_file_for_two_inputs_is_packed_once(walks, tmp_path):
    again = dataclasses.replace(walks.inputs[2], name="body", stream="pose", space=None)
    source = dataclasses.replace(walks, inputs=(walks.inputs[2], again))
    pack(source, tmp_path / "walks")
    theirs = packed.load(root=str(tmp_path / "walks"))
    assert theirs.inputs == source.inputs and list(theirs.train[0].streams) == ["pose"]
    assert len(ArrayRecordReader(str(tmp_path / "walks" / "train-00000.arrayrecord")).read_all()) == 4
