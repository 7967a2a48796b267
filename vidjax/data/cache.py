"""Keeping decoded videos in memory, so that a minute of training does not decode each clip anew."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import numpy as np

from vidjax.data import arrays
from vidjax.data.decoding import DecodedVideo, read_video
from vidjax.data.inputs import RGB, Input
from vidjax.data.packed import Packed
from vidjax.data.resizing import Resize

logger = logging.getLogger(__name__)


def gigabytes(count: float) -> str:
    """A number of bytes for people, in GB or, where it is a small one, in MB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


class HeldVideo(Protocol):
    """A decoded video, somewhere."""

    @property
    def fps(self) -> float | None:
        """Frames per second; None where the file states none."""

    def __len__(self) -> int:
        """How many frames it has."""

    def take(self, indices: Sequence[int]) -> np.ndarray:
        """[T, ...]: the frames with these numbers."""


class Cache(Protocol):
    """Keeps whole decoded videos."""

    def video(
        self, path: str | Packed, resize: Resize, input: Input = RGB, *, exact_seek: bool = False
    ) -> HeldVideo | None:
        """Returns the whole video, decoded to this size now or before; None if there is no room for it."""


def read_whole(
    path: str | Packed, resize: Resize, input: Input, *, exact_seek: bool, max_bytes: int
) -> DecodedVideo | None:
    """Reads a file for a cache; None if it would take more than `max_bytes`.

    Raises:
      VideoError: if it cannot be read.
    """
    if input.reader == "array":
        return arrays.read_video(path, input, resize, max_bytes=max_bytes)
    return read_video(path, resize, exact_seek=exact_seek, max_bytes=max_bytes)


def reading_of(resize: Resize, input: Input) -> tuple[Hashable, ...]:
    """What decides, beside the file, on what a cache holds of it."""
    if input.space != "image":
        return input.reader, input.dtype, input.shape
    scaling = (input.mean,) if input.vectors else ()
    return input.reader, input.dtype, input.shape, resize.side, resize.rule, *scaling


class MemoryCache:
    """Whole decoded videos, at the size at which clips are cut, up to a number of bytes.

    Nothing is evicted: with random access over epochs an evicting cache that is too small misses nearly
    always. A video that does not fit is decoded at every use, and a warning is logged of the first one. Safe to
    share between threads; two threads that want the same video decode it once. A copy that is pickled, as for a
    worker process, starts empty.

    Args:
      max_bytes: bound on the decoded frames held.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes = int(max_bytes)
        self.used_bytes = 0
        self._lock = threading.Lock()
        self._too_large: set[Hashable] = set()
        self._videos: dict[Hashable, Future[DecodedVideo | None]] = {}

    def video(
        self, path: str | Packed, resize: Resize, input: Input = RGB, *, exact_seek: bool = False
    ) -> DecodedVideo | None:
        """Returns the whole video, decoded to this size now or before; None if there is no room for it.

        Raises:
          VideoError: as `read_whole`; nothing is remembered of a video that failed.
        """
        key = (path, exact_seek, *reading_of(resize, input))
        with self._lock:
            held = self._videos.get(key)
            if held is None:
                if key in self._too_large:
                    return None
                future: Future[DecodedVideo | None] = Future()
                self._videos[key] = future
        if held is not None:
            return held.result()
        try:
            room = self.max_bytes - self.used_bytes
            video = self._keep(read_whole(path, resize, input, exact_seek=exact_seek, max_bytes=room), key)
        except BaseException as error:
            self._forget(key)
            future.set_exception(error)
            raise
        if video is None:
            self._forget(key)
        future.set_result(video)
        return video

    def _keep(self, video: DecodedVideo | None, key: tuple[Hashable, ...]) -> DecodedVideo | None:
        with self._lock:
            if video is not None and self.used_bytes + video.frames.nbytes <= self.max_bytes:
                self.used_bytes += video.frames.nbytes
                video.frames.setflags(write=False)  # views of it are handed out
                return video
            if not self._too_large:
                logger.warning(
                    "the memory cache holds %s of %s and has no room for %s: what does not fit is decoded at every use",
                    gigabytes(self.used_bytes),
                    gigabytes(self.max_bytes),
                    key[0],
                )
            self._too_large.add(key)
        return None

    def _forget(self, key: Hashable) -> None:
        with self._lock:
            del self._videos[key]

    def __getstate__(self) -> dict[str, Any]:
        return {"max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["max_bytes"])  # type: ignore[misc]


class RecentResults:
    """The last few results of a function, shared between threads: each is computed once, failures too.

    The views of one video follow each other in evaluation; this decodes the video once for all of them.

    Args:
      size: how many results are kept.
    """

    def __init__(self, size: int):
        self.size = size
        self._lock = threading.Lock()
        self._results: OrderedDict[Hashable, Future[Any]] = OrderedDict()

    def get(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """Returns compute(), or what it returned or raised for this key before."""
        with self._lock:
            held = self._results.get(key)
            if held is None:
                future: Future[Any] = Future()
                self._results[key] = future
                if len(self._results) > self.size:
                    self._results.popitem(last=False)
        if held is not None:
            return held.result()
        try:
            future.set_result(compute())
        except BaseException as error:
            future.set_exception(error)
        return future.result()

    def __getstate__(self) -> dict[str, Any]:
        return {"size": self.size}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["size"])  # type: ignore[misc]
