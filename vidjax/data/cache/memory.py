"""Caches decoded videos in memory, so that each is decoded once in a run."""

import logging
import threading
from collections.abc import Hashable
from concurrent.futures import Future
from typing import Any

from vidjax.data.cache.interface import cache_key, gigabytes, read_whole
from vidjax.data.inputs import RGB, Input
from vidjax.data.resizing import Resize
from vidjax.data.video.decoding import DecodedVideo
from vidjax.data.video.file import VideoFile

logger = logging.getLogger(__name__)


class MemoryCache:
    """Whole decoded videos, at the size from which clips are cropped, up to a number of bytes.

    Nothing is evicted: with random access over epochs an evicting cache that is too small misses nearly
    always. A video that does not fit is decoded at every use, with a warning for the first one. Safe to
    share between threads; if two threads request the same video, it is decoded once. A copy that is pickled, as for a
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

    def video(self, file: VideoFile, resize: Resize, spec: Input = RGB) -> DecodedVideo | None:
        """Returns the whole video, decoded to this size now or before; None if there is no room for it.

        Raises:
          VideoError: as `read_whole`; a video that failed is not stored.
        """
        key = (file, *cache_key(resize, spec))
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
            video = self._keep(read_whole(file, resize, spec, max_bytes=room), key)
        except BaseException as error:
            self._evict(key)
            future.set_exception(error)
            raise
        if video is None:
            self._evict(key)
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
                    "the memory cache holds %s of %s and has no room for %s:"
                    " videos that do not fit are decoded at every use",
                    gigabytes(self.used_bytes),
                    gigabytes(self.max_bytes),
                    key[0],
                )
            self._too_large.add(key)
        return None

    def _evict(self, key: Hashable) -> None:
        with self._lock:
            del self._videos[key]

    def __getstate__(self) -> dict[str, Any]:
        return {"max_bytes": self.max_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["max_bytes"])  # type: ignore[misc]
