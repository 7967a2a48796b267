"""Where clips come from: sources, decoding, temporal sampling, caching and the Grain pipeline.

Starts no JAX back end: Grain's worker processes import it.
"""

from vidjax.data.cache import MemoryCache
from vidjax.data.clips import Clip, Views
from vidjax.data.decoding import probe, read_frames
from vidjax.data.iteration import BatchIterator
from vidjax.data.pipeline import evaluation_batches, training_batches
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
    "evaluation_batches",
    "probe",
    "read_frames",
    "training_batches",
]
