"""Where clips come from: sources, decoding, temporal sampling, caching and the Grain pipeline.

Starts no JAX back end: Grain's worker processes import it. Names are imported on first use: the
processes that check videos do not need Grain, and a training step needs no decoder.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidjax.data.cache.memory import MemoryCache
    from vidjax.data.clips import ClipSpec
    from vidjax.data.flip_rule import FlipRule
    from vidjax.data.inputs import RGB, Input, Negate, Permute
    from vidjax.data.iteration import BatchIterator
    from vidjax.data.packed.records import encoded, unpack
    from vidjax.data.pipeline import evaluation_batches, training_batches
    from vidjax.data.records import Batch, Source, Stream, Video
    from vidjax.data.video.info import VideoInfo
    from vidjax.data.video.reading import probe, read_frames
    from vidjax.data.views import ViewSpec

_MODULES = {
    "cache.memory": ("MemoryCache",),
    "clips": ("ClipSpec",),
    "flip_rule": ("FlipRule",),
    "inputs": ("RGB", "Input", "Negate", "Permute"),
    "iteration": ("BatchIterator",),
    "packed.records": ("encoded", "unpack"),
    "pipeline": ("evaluation_batches", "training_batches"),
    "records": ("Batch", "Source", "Stream", "Video"),
    "video.info": ("VideoInfo",),
    "video.reading": ("probe", "read_frames"),
    "views": ("ViewSpec",),
}

__all__ = [
    "RGB",
    "Batch",
    "BatchIterator",
    "ClipSpec",
    "FlipRule",
    "Input",
    "MemoryCache",
    "Negate",
    "Permute",
    "Source",
    "Stream",
    "Video",
    "VideoInfo",
    "ViewSpec",
    "encoded",
    "evaluation_batches",
    "probe",
    "read_frames",
    "training_batches",
    "unpack",
]


def __getattr__(name: str) -> Any:
    module = next((module for module, names in _MODULES.items() if name in names), None)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(importlib.import_module(f"vidjax.data.{module}"), name)
    return value
