"""The readers that `benchmarks.input` compares, each in a process of its own.

A library then neither meets another one's copy of FFmpeg, nor takes the benchmark along when it crashes; and decord2,
which has decord's import name, can be beside it.
"""

import importlib
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from vidjax.data import streams
from vidjax.data.inputs import RGB
from vidjax.data.records import Video
from vidjax.data.video.conversion import Converter, Size
from vidjax.data.video.reading import read_frames

Reader = Callable[[Video, Sequence[int], Size], np.ndarray]


def _vidjax(video: Video, indices: Sequence[int], size: Size) -> np.ndarray:
    return streams.read_frames(video.streams["rgb"], RGB, indices, size)


def _vidjax_in_order(video: Video, indices: Sequence[int], size: Size) -> np.ndarray:
    return read_frames(video.path, indices, size)


def _decord(video: Video, indices: Sequence[int], size: Size) -> np.ndarray:
    decord = importlib.import_module("decord")
    reader = decord.VideoReader(video.path, height=size[0], width=size[1], num_threads=1)
    return reader.get_batch(list(indices)).asnumpy()


def _pyav(video: Video, indices: Sequence[int], size: Size) -> np.ndarray:
    """Sequential decoding, as in its cookbook; only the requested frames are converted."""
    wanted, last, found = set(indices), max(indices), {}
    with av.open(video.path) as container:
        container.streams.video[0].thread_count = 1
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                found[number] = frame.to_ndarray(format="rgb24", width=size[1], height=size[0])
            if number == last:
                break
    return np.stack([found[number] for number in indices])


def _pyav_seeking(video: Video, indices: Sequence[int], size: Size) -> np.ndarray:
    """Seeks with the same index as vidjax, but does not verify frames."""
    info = video.streams["rgb"].info
    if info is None or info.table is None:
        return _pyav(video, indices, size)
    places, found, at = info.table.frame_index(), {}, 0
    frames: Iterator[Any] = iter(())
    convert = Converter(lambda height, width: size)
    with av.open(video.path) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        for number in sorted(set(indices)):
            if (key := places.keyframe_before(number)) >= at:
                container.seek(places.pts[key], stream=stream)
                frames, at = container.decode(stream), key
            frame: Any = None
            while at <= number:
                frame, at = next(frames), at + 1
            found[number] = convert(frame)
    return np.stack([found[number] for number in indices])


def _opencv(video: Video, indices: Sequence[int], size: Size) -> np.ndarray:
    """Sequential decoding; only the requested frames are retrieved."""
    cv2 = importlib.import_module("cv2")
    cv2.setNumThreads(1)
    capture = cv2.VideoCapture(video.path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    wanted, found = set(indices), {}
    for number in range(max(indices) + 1):
        capture.grab()
        if number in wanted:
            _, pixels = capture.retrieve()
            small = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
            found[number] = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
    capture.release()
    return np.stack([found[number] for number in indices])


def _torchcodec(video: Video, indices: Sequence[int], size: Size) -> np.ndarray:
    return _by_torchcodec(video, indices, size, "exact")


def _torchcodec_approximate(video: Video, indices: Sequence[int], size: Size) -> np.ndarray:
    """Computes from the header where frames are, instead of scanning the file."""
    return _by_torchcodec(video, indices, size, "approximate")


def _by_torchcodec(video: Video, indices: Sequence[int], size: Size, seek_mode: str) -> np.ndarray:
    decoders, transforms = map(importlib.import_module, ("torchcodec.decoders", "torchcodec.transforms"))
    importlib.import_module("torch").set_num_threads(1)  # others would spin while FFmpeg works
    decoder = decoders.VideoDecoder(
        video.path,
        num_ffmpeg_threads=1,
        dimension_order="NHWC",
        seek_mode=seek_mode,
        transforms=[transforms.Resize(size)],
    )
    return decoder.get_frames_at(list(indices)).data.numpy()


class Peer(NamedTuple):
    """A reader.

    Attributes:
      read: the frames with these numbers at this (height, width), uint8 [T, H, W, 3].
      module: that it needs; None: vidjax's own.
      package: that holds the module.
    """

    read: Reader
    module: str | None = None
    package: str | None = None


PACKED = "vidjax, packed resized"
READERS = {
    "vidjax": Peer(_vidjax),
    PACKED: Peer(_vidjax),
    "vidjax, not inspected": Peer(_vidjax_in_order),
    "decord": Peer(_decord, "decord", "decord"),
    "decord2": Peer(_decord, "decord", "decord2"),
    "PyAV, in order": Peer(_pyav, "av", "av"),
    "PyAV, seeking unchecked": Peer(_pyav_seeking, "av", "av"),
    "OpenCV": Peer(_opencv, "cv2", "opencv-contrib-python-headless"),
    "torchcodec": Peer(_torchcodec, "torchcodec.decoders", "torchcodec"),
    "torchcodec, approximate": Peer(_torchcodec_approximate, "torchcodec.decoders", "torchcodec"),
}


class Answer(NamedTuple):
    """What a reader returned: CPU time in ms and the frames, or why there are none."""

    cpu_ms: float
    frames: np.ndarray | None
    error: str = ""


class ReaderProcess:
    """A reader in a process of its own, which is started anew if it crashes.

    Args:
      name: in `READERS`.
      folder: put in front of the module path of the process.

    Attributes:
      missing: why it cannot be used; "" if it can.
    """

    def __init__(self, name: str, folder: Path | None = None):
        self._arguments = name, folder and str(folder)
        self.missing = self._start()

    def read(self, video: Video, indices: Sequence[int], size: Size) -> Answer:
        """Reads frames; never raises."""
        try:
            self._connection.send((video, list(indices), size))
            return self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            error = f"the process ended with status {self._process.exitcode}"
            self._start()
            return Answer(float("nan"), None, error)

    def close(self) -> None:
        """Ends the process."""
        self._connection.close()
        self._process.join()

    def _start(self) -> str:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
        self._process.start()
        theirs.close()
        try:
            return self._connection.recv()
        except EOFError:
            return "its process ended at the start"


def _serve(connection: Connection, name: str, folder: str | None) -> None:
    """Answers requests until the other end closes."""
    if folder is not None:
        sys.path.insert(0, folder)
    peer = READERS[name]
    try:
        if peer.module is not None:
            importlib.import_module(peer.module)
    except Exception as error:  # torchcodec raises various ones if its libraries are missing
        connection.send(f"{peer.module}: {_one_line(error)}")
        return
    connection.send("")
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        started = time.process_time()
        try:
            frames = peer.read(*request)
        except Exception as error:
            connection.send(Answer(float("nan"), None, _one_line(error)))
        else:
            connection.send(Answer(1000 * (time.process_time() - started), frames))


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
