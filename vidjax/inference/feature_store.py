"""Features of videos on disk, one file per video, so that an interrupted computation goes on where it was."""

import contextlib
import dataclasses
import hashlib
import io
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vidjax.data.records import Batch, Stream, Video
from vidjax.data.views import ViewSpec
from vidjax.system import files, paths, terminal

_VERSION = 1  # of what is kept: raise it with every change of the numbers


@dataclasses.dataclass(frozen=True)
class FeatureStore:
    """Features on disk: one file per video, float32 [V, N, D], V views.

    Attributes:
      folder: of the files, named after all that determines their numbers but the video.
    """

    folder: Path

    @classmethod
    def of(cls, variables: Mapping[str, np.ndarray], *settings: Any) -> "FeatureStore":
        """The store of a network's features.

        Args:
          variables: path -> array, of all that the features come from.
          *settings: the network, its preprocessing, clips and views; what they print determines the numbers.
        """
        digest = hashlib.sha256(repr((_VERSION, *settings)).encode())
        for path in sorted(variables):
            array = np.ascontiguousarray(variables[path])
            digest.update(f"{path}{array.shape}{array.dtype}".encode())
            digest.update(array.data)
        return cls(paths.cache_dir() / "features" / digest.hexdigest()[:20])

    def path(self, video: Video) -> Path:
        """The file of a video; another one if the video's content, place or time of change is another."""
        streams = [(name, _content(stream)) for name, stream in sorted(video.streams.items())]
        return self.folder / f"{hashlib.sha256(repr(streams).encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.npy"

    def seconds_of(self, count: int) -> float:
        """Wall time that so many videos took, by the mean of all in the store, which other runs may have computed."""
        return self._seconds * count / max(sum(1 for _ in self.folder.glob("*.npy")), 1)

    def add_seconds(self, seconds: float) -> None:
        """Adds to the wall time that was spent on all that is in the store."""
        files.write_json(self.folder / "seconds.json", round(self._seconds + seconds, 1))

    @property
    def _seconds(self) -> float:
        return float(files.read_json(self.folder / "seconds.json") or 0.0)

    def has(self, video: Video) -> bool:
        """Whether the features of a video are there."""
        return self.path(video).exists()

    def write(self, video: Video, features: np.ndarray) -> None:
        """Keeps the features of a video, float32 [V, N, D]."""
        content = io.BytesIO()
        np.save(content, features)
        files.write_bytes(self.path(video), content.getvalue())

    def read(self, video: Video) -> np.ndarray:
        """The features of a video, float32 [V, N, D]."""
        array: np.ndarray = np.load(self.path(video), allow_pickle=False)
        return array


def _content(stream: Stream) -> Any:
    if stream.frames is not None:
        return stream.path, stream.frames.shape, zlib.crc32(np.ascontiguousarray(stream.frames).data)
    return stream.file.cache_key()


# (batch) -> features [B, N, D], index [B] and mask [B] of the whole global batch.
FeatureStep = Callable[[Batch], tuple[Any, Any, Any]]


def compute(
    videos: Sequence[Video],
    store: FeatureStore,
    step: FeatureStep,
    views: ViewSpec,
    batches: Callable[[Sequence[Video]], Any],
    batch_size: int,
    description: str,
) -> dict[str, str]:
    """Computes the features of those videos that are not in the store yet.

    Args:
      videos: any.
      store: where they are kept, each video as soon as it is done.
      step: computes those of a batch.
      views: of each video.
      batches: videos -> an iterator of `evaluation_batches` with these views.
      batch_size: over all devices and processes.
      description: of the progress.

    Returns:
      Id -> reason of the videos that could not be read.
    """
    missing = [video for video in videos if video.refused is None and not store.has(video)]
    if not missing:
        return {}
    files.check_folder(store.folder, f"the cache {paths.cache_dir()} ($VIDJAX_CACHE)")
    found: dict[int, list[np.ndarray | None]] = {}
    total = -(-len(missing) * views.count // batch_size)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        if jax.process_index() == 0:
            stack.callback(lambda: store.add_seconds(time.monotonic() - started))
        source = stack.enter_context(batches(missing))
        for batch in terminal.track(source, total, description, "batches"):
            features, index, mask = jax.device_get(step(batch))
            for number, values in zip(index[mask].tolist(), features[mask], strict=True):
                video, view = divmod(number, views.count)
                rows = found.setdefault(video, [None] * views.count)
                rows[view] = values
                done = [row for row in rows if row is not None]
                if len(done) == views.count:
                    store.write(missing[video], np.stack(done).astype(np.float32))
                    found[video] = []
        return dict(source.failed)
