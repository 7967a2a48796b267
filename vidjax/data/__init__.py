"""Where clips come from: sources, decoding, temporal sampling, caching and the Grain pipeline.

Starts no JAX back end: Grain's worker processes import it. Grain itself is imported when the pipeline is first asked
for, since the processes that check videos have no use for it.
"""

from typing import Any

from vidjax.data.cache import MemoryCache
from vidjax.data.clips import Clip, Views
from vidjax.data.decoding import probe, read_frames
from vidjax.data.packed import encoded, unpack
from vidjax.data.records import Batch, Mirror, Source, Video, VideoInfo

__all__ = [
    "Batch",
    "BatchIterator",
    "Clip",
    "MemoryCache",
    "Mirror",
    "Source",
    "Video",
    "VideoInfo",
    "Views",
    "encoded",
    "evaluation_batches",
    "probe",
    "read_frames",
    "training_batches",
    "unpack",
]


def __getattr__(name: str) -> Any:
    if name == "BatchIterator":
        from vidjax.data.iteration import BatchIterator

        return BatchIterator
    if name in ("evaluation_batches", "training_batches"):
        from vidjax.data import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
