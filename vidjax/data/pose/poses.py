"""The poses of one video, and the files that hold them."""

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vidjax.data import streams
from vidjax.data.computed import Computation, StoppedError, array_file
from vidjax.data.inputs import RGB, Input, Permute
from vidjax.data.pose import blazepose
from vidjax.data.pose.blazepose import BlazePose
from vidjax.data.pose.interface import PoseDetector
from vidjax.data.records import Stream
from vidjax.data.video.conversion import short_side_size
from vidjax.data.video.info import VideoInfo
from vidjax.errors import ConfigError

NAME = "pose"  # of the stream
VERSION = 1  # of what is kept: raise it with every change of the numbers
_CHUNK = 16  # frames that are in memory at once
_SHORT_SIDE = 480  # pixels, to which larger frames are resized
_MAX_COORDINATE = 10.0  # in frame sizes; what is farther away is no joint

DETECTORS: dict[str, Callable[[], PoseDetector]] = {"blazepose": BlazePose}


@dataclasses.dataclass(frozen=True)
class PoseSettings(Computation):
    """How poses are found.

    Attributes:
      method: a key of `DETECTORS`, or the factory of another one, "module:function".
      factory: makes a detector; each video gets its own.
    """

    NAME: ClassVar[str] = NAME
    TITLE: ClassVar[str] = "pose data"

    method: str
    factory: Callable[[], Any] = dataclasses.field(compare=False, repr=False)

    @property
    def input(self) -> Input:
        """Points with confidence, whose left and right ones a mirror image exchanges."""
        joints = self._joints
        return Input(NAME, (len(joints), 3), "float32", space="points", mirror=Permute(mirror_order(joints)))

    @property
    def identity(self) -> tuple[Any, ...]:
        """The version of what is kept, the detector and its joints, and a factory's own version."""
        return VERSION, self.method, self._joints, self._version

    def record(self) -> dict[str, Any]:
        """The detector, and its joints.

        Raises:
          DataError: if what BlazePose needs is missing.
        """
        if self.method == "blazepose":
            blazepose.check_installed()
            blazepose.fetch()
        detector = self._detector()
        return {"detector": self.method, "joints": list(detector.joints), "bones": [list(b) for b in detector.bones]}

    def file_bytes(self, about: VideoInfo) -> int:
        """Four for each number, and one for the people of a frame."""
        return about.frames * (len(self._joints) * 12 + 1)

    def compute_file(self, stream: Stream, stopped: threading.Event) -> None:
        """Finds the joints in each frame, and writes them: NaN where nobody is found."""
        about, detector = streams.probe(stream, RGB), self._detector()
        side = min(_SHORT_SIDE, about.height, about.width)
        size, count = short_side_size(about.height, about.width, side), len(detector.joints)
        path, people = self.path(stream), np.zeros(about.frames, np.uint8)
        with contextlib.suppress(StoppedError), array_file(path, (about.frames, count, 3), "float32") as file:
            for start in range(0, about.frames, _CHUNK):
                numbers = range(start, min(start + _CHUNK, about.frames))
                for number, frame in zip(numbers, streams.read_frames(stream, RGB, numbers, size), strict=True):
                    if stopped.is_set():
                        raise StoppedError
                    joints, found = detector(np.ascontiguousarray(frame))
                    people[number] = min(found, 255)
                    file.write(self._checked(joints, count).data)
            with array_file(people_path(path), people.shape, "uint8") as other:
                other.write(people.data)

    @functools.cached_property
    def _joints(self) -> tuple[str, ...]:
        return tuple(self._detector().joints)

    @functools.cached_property
    def _version(self) -> str:
        return str(getattr(self._detector(), "version", ""))

    def _detector(self) -> PoseDetector:
        detector = self.factory()
        for name in ("joints", "bones"):
            if not hasattr(detector, name):
                raise ConfigError(f"pose factory {self.method!r}: what it returns has no {name!r}, see PoseDetector")
        found: PoseDetector = detector
        return found

    def _checked(self, joints: Any, count: int) -> np.ndarray:
        """What is stored of a frame.

        Raises:
          ConfigError: if a detector gives another shape, or pixels.
        """
        if joints is None:
            return np.full((count, 3), np.nan, np.float32)
        joints = np.array(joints, np.float32)
        if joints.shape != (count, 3):
            raise ConfigError(f"pose factory {self.method!r}: gave {joints.shape}, not ({count}, 3)")
        if np.nanmax(np.abs(joints[:, :2]), initial=0.0) > _MAX_COORDINATE:
            raise ConfigError(
                f"pose factory {self.method!r}: gave coordinates up to {np.nanmax(np.abs(joints[:, :2])):.0f}; they"
                " are fractions of the frame, not pixels"
            )
        return np.ascontiguousarray(joints)


def mirror_order(joints: tuple[str, ...]) -> tuple[int, ...]:
    """Which joint takes the place of each one in a mirror image: left and right are exchanged, by their names."""
    number = {name: at for at, name in enumerate(joints)}

    def other(name: str) -> str:
        for side, opposite in (("left", "right"), ("right", "left")):
            if name.startswith(f"{side}_"):
                return opposite + name.removeprefix(side)
        return name

    return tuple(number.get(other(name), at) for at, name in enumerate(joints))


def people_path(path: Path) -> Path:
    """The file beside that of joints, uint8 [N]: how many people were found in each frame."""
    return path.with_suffix(".people.npy")
