"""BlazePose: 33 joints of a person, by two networks that TensorFlow Lite's runtime executes.

A detector finds people in the whole frame, as the middle of the hips and a point above it that says how large they are
and how they are turned. From a square around the most certain one, turned upright, the second network finds the joints.

References:
  Bazarevsky et al. 2020, "BlazePose: On-device Real-time Body Pose tracking", arXiv:2006.10204. Sizes, thresholds and
  ranges are those of the graphs of MediaPipe 0.10.21 (Apache-2.0): pose_detection, pose_detection_to_roi,
  pose_landmark_by_roi, tensors_to_pose_landmarks_and_segmentation.
"""

import functools
import hashlib
import importlib.util
import math
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from vidjax.data.pose.interface import Frame, Pose
from vidjax.errors import DataError
from vidjax.system import files, paths, pypi

PACKAGE = "mediapipe==0.10.21"
# Any wheel of it has the same networks, whatever it is for.
_WHEEL = ("--only-binary=:all:", "--python-version=3.11", "--platform=manylinux_2_28_x86_64")
_FILES = {  # in the wheel -> SHA-256
    "mediapipe/modules/pose_detection/pose_detection.tflite": (
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c"
    ),
    "mediapipe/modules/pose_landmark/pose_landmark_full.tflite": (
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f"
    ),
}
INSTALL = "pip install -r requirements-pose.txt"

_DETECTOR_SIDE, _DETECTOR_RANGE = 224, (-1.0, 1.0)
_LANDMARK_SIDE, _LANDMARK_RANGE = 256, (0.0, 1.0)
_STRIDES = {8: 2, 16: 2, 32: 6}  # of the detector's feature maps -> anchors at each place
_MIN_SCORE = 0.5  # of a detection, and of the joints as a whole
_MAX_OVERLAP = 0.3  # intersection over union; detections that overlap more are of one person
_ROI_SCALE = 1.25  # of the square around the circle through the detector's two points
_JOINTS, _VALUES = 33, 5  # x, y, z, visibility, presence; six more points are for the next frame
_HEATMAP_KERNEL, _MIN_HEAT = 7, 0.5
# Quantiles of what the networks give for `_test_pattern`: no score shows that the range of their input is wrong.
_RECORDED = {
    "detector": (-154.007, -6.671, 0.049, 5.242, 121.649),
    "landmarks": (-95.435, 0.796, 5.521, 108.554, 199.025),
}
_TOLERANCE = 0.02  # of their range
_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


class BlazePose:
    """Finds 33 joints of the most certain person; loads its networks with the first frame.

    Attributes:
      joints, bones: as in `PoseDetector`.
    """

    joints: tuple[str, ...] = (
        "nose",
        *("left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer"),
        *("left_ear", "right_ear", "left_mouth", "right_mouth", "left_shoulder", "right_shoulder"),
        *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky"),
        *("left_index", "right_index", "left_thumb", "right_thumb", "left_hip", "right_hip"),
        *("left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel", "right_heel"),
        *("left_foot_index", "right_foot_index"),
    )
    bones: tuple[tuple[int, int], ...] = (
        *((11, 12), (11, 23), (12, 24), (23, 24)),  # trunk
        *((11, 13), (13, 15), (15, 19), (12, 14), (14, 16), (16, 20)),  # arms
        *((23, 25), (25, 27), (27, 31), (24, 26), (26, 28), (28, 32)),  # legs
        *((0, 7), (0, 8)),  # head
    )

    def __init__(self) -> None:
        self._networks: _Networks | None = None

    def __call__(self, frame: Frame) -> Pose:
        """What is found in a frame, uint8 [H, W, 3].

        Raises:
          DataError: if the runtime, OpenCV or the networks are missing.
        """
        if self._networks is None:
            self._networks = _Networks()
        people = self._networks.people(frame)
        joints = self._networks.joints(frame, people[0]) if people else None
        return Pose(joints, len(people))


def fetch() -> Path:
    """The folder of the networks, in the cache; downloads their package unless they are there.

    Raises:
      DataError: if they cannot be downloaded, or are not the published ones; says what to do on another machine.
    """
    folder = paths.cache_dir() / "weights" / "blazepose"
    wanted = {member: folder / Path(member).name for member in _FILES}
    otherwise = (
        f"on a machine with a network, `pip download --no-deps {' '.join(_WHEEL)} {PACKAGE}` brings an archive; unpack"
        f" {' and '.join(_FILES)} from it into {folder}"
    )
    if not all(path.is_file() for path in wanted.values()):
        files.check_folder(folder, f"the cache {paths.cache_dir()} ($VIDJAX_CACHE)")
        folder.mkdir(parents=True, exist_ok=True)
        partial = {member: path.with_suffix(f".{uuid.uuid4().hex}.partial") for member, path in wanted.items()}
        try:
            pypi.fetch(PACKAGE, partial, otherwise=otherwise, options=_WHEEL)
            for member, path in wanted.items():
                partial[member].replace(path)
        finally:
            for path in partial.values():
                path.unlink(missing_ok=True)
    for member, path in wanted.items():
        if hashlib.sha256(path.read_bytes()).hexdigest() != _FILES[member]:
            raise DataError(f"{path}: is not the published network (another SHA-256): remove it")
    return folder


def check_installed() -> None:
    """Refuses where packages are missing.

    Raises:
      DataError: naming them, and how to install them.
    """
    missing = [name for name in ("ai_edge_litert", "cv2") if importlib.util.find_spec(name) is None]
    if missing:
        raise DataError(f"poses by BlazePose need {' and '.join(missing)}: {INSTALL}")


class _Person(NamedTuple):
    """In pixels of a frame.

    Attributes:
      hips: x and y of their middle.
      top: of a point on the circle around the whole person; it is above of the hips where the person stands upright.
    """

    hips: Float[np.ndarray, "2"]
    top: Float[np.ndarray, "2"]


class _Networks:
    """Both networks, each for one thread."""

    def __init__(self) -> None:
        check_installed()
        import cv2
        from ai_edge_litert.interpreter import Interpreter

        cv2.setNumThreads(1)  # several videos are computed at once
        self._cv2, folder = cv2, fetch()
        detector, landmarks = (Interpreter(str(folder / Path(member).name), num_threads=1) for member in _FILES)
        self._detector, self._landmarks = _Network(detector, _DETECTOR_RANGE), _Network(landmarks, _LANDMARK_RANGE)
        self._check_numbers()

    def people(self, frame: Frame) -> list[_Person]:
        """Those in a frame, the most certain one first."""
        height, width, _ = frame.shape
        side = max(height, width)
        corner = np.array([width - side, height - side]) / 2
        picture = self._square(frame, corner, np.array([side, 0.0]), _DETECTOR_SIDE, self._cv2.BORDER_CONSTANT)
        raw, scores = self._detector(picture)
        boxes, points, certain = _decoded(raw, scores[:, 0])
        return [_Person(*(each[:2] * side + corner)) for each in _merged(boxes, points, certain)]

    def joints(self, frame: Frame, person: _Person) -> Float[np.ndarray, "joints 3"] | None:
        """Those of a person, as in `Pose`; None if the network sees nobody there."""
        height, width, _ = frame.shape
        up = person.top - person.hips
        radius = float(np.hypot(*up)) * _ROI_SCALE
        if not radius:
            return None
        # The square's sides, to the right and downwards as the person sees them upright.
        across = np.array([-up[1], up[0]]) / np.hypot(*up) * 2 * radius
        down = np.array([-across[1], across[0]])
        corner = person.hips - (across + down) / 2
        picture = self._square(frame, corner, across, _LANDMARK_SIDE, self._cv2.BORDER_REPLICATE)
        raw, present, _, heat, _ = self._landmarks(picture)
        if present[0] < _MIN_SCORE:
            return None
        values = raw.reshape(-1, _VALUES)[:_JOINTS]
        places = _refined(values[:, :2] / _LANDMARK_SIDE, heat[..., :_JOINTS])
        pixels = corner + places[:, :1] * across + places[:, 1:] * down
        return np.concatenate([pixels / (width, height), _sigmoid(values[:, 3:4])], axis=1).astype(np.float32)

    def _square(
        self, frame: Frame, corner: Float[np.ndarray, "2"], across: Float[np.ndarray, "2"], side: int, border: int
    ) -> Frame:
        """A square of a frame as a picture [side, side, 3]: its left upper corner, and its upper side as a vector."""
        down = np.array([-across[1], across[0]])
        corners = np.stack([corner, corner + across, corner + down]).astype(np.float32)
        into = np.array([[0, 0], [side, 0], [0, side]], np.float32)
        matrix = self._cv2.getAffineTransform(corners, into)
        flags = self._cv2.INTER_LINEAR
        picture: np.ndarray = self._cv2.warpAffine(frame, matrix, (side, side), flags=flags, borderMode=border)
        return picture

    def _check_numbers(self) -> None:
        """Refuses networks whose results are not those that were recorded.

        Raises:
          DataError: if they differ.
        """
        found = {
            "detector": np.quantile(self._detector(_test_pattern(_DETECTOR_SIDE))[0], _QUANTILES),
            "landmarks": np.quantile(self._landmarks(_test_pattern(_LANDMARK_SIDE))[0], _QUANTILES),
        }
        for name, values in found.items():
            recorded = np.asarray(_RECORDED[name])
            if np.abs(values - recorded).max() > _TOLERANCE * np.ptp(recorded):
                raise DataError(
                    f"BlazePose's network {name} does not give the numbers that were recorded of it"
                    f" ({np.round(values, 2).tolist()}, not {recorded.tolist()}): another version of ai-edge-litert may"
                    " help"
                )


class _Network:
    """One network: pictures of bytes, scaled to the range that it was trained for."""

    def __init__(self, interpreter: Any, value_range: tuple[float, float]):
        interpreter.allocate_tensors()
        self._interpreter, (self._low, high) = interpreter, value_range
        self._scale = (high - self._low) / 255
        (given,), outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self._input, self._outputs = given["index"], [each["index"] for each in outputs]

    def __call__(self, picture: Frame) -> list[np.ndarray]:
        """Its outputs, without the axis of the batch."""
        values = picture.astype(np.float32) * np.float32(self._scale) + np.float32(self._low)
        self._interpreter.set_tensor(self._input, values[np.newaxis])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index)[0] for index in self._outputs]


def _test_pattern(side: int) -> Frame:
    """A picture of waves."""
    y, x = np.mgrid[:side, :side] / side
    waves = [np.sin(2 * np.pi * (a * x + b * y)) for a, b in ((3, 1), (1, 4), (5, -2))]
    return (127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


@functools.cache
def _anchors() -> Float[np.ndarray, "anchors 2"]:
    """Centers of the detector's anchors, x and y, as fractions of its square."""
    centers = []
    for stride, count in _STRIDES.items():
        cells = (np.arange(_DETECTOR_SIDE // stride) + 0.5) * stride / _DETECTOR_SIDE
        y, x = np.meshgrid(cells, cells, indexing="ij")
        centers.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), count, axis=0))
    return np.concatenate(centers)


def _decoded(
    raw: Float[np.ndarray, "anchors 12"], scores: Float[np.ndarray, " anchors"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes [N, 2, 2] (left upper and right lower corner), points [N, 4, 2] and scores [N] of what is certain enough.

    All are fractions of the detector's square.
    """
    certain = _sigmoid(scores)
    kept = certain >= _MIN_SCORE
    values = raw[kept].reshape(-1, 6, 2) / _DETECTOR_SIDE
    around = _anchors()[kept][:, np.newaxis]
    centers, sizes = values[:, :1] + around, values[:, 1:2]
    boxes = np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)
    return boxes, values[:, 2:] + around, certain[kept]


def _merged(boxes: np.ndarray, points: np.ndarray, scores: np.ndarray) -> list[Float[np.ndarray, "4 2"]]:
    """The points of each person, by descending score: detections that overlap are averaged by their scores."""
    left, found = np.argsort(-scores, kind="stable"), []
    while len(left):
        overlapping = _overlaps(boxes[left[0]], boxes[left]) > _MAX_OVERLAP
        overlapping[0] = True
        same = left[overlapping]
        found.append(np.average(points[same], axis=0, weights=scores[same]))
        left = left[~overlapping]
    return found


def _overlaps(box: Float[np.ndarray, "2 2"], boxes: Float[np.ndarray, "n 2 2"]) -> Float[np.ndarray, " n"]:
    """Intersection over union of a box and others."""
    common = np.minimum(box[1], boxes[:, 1]) - np.maximum(box[0], boxes[:, 0])
    intersection = np.prod(np.maximum(common, 0), axis=-1)
    areas = np.prod(np.maximum(boxes[:, 1] - boxes[:, 0], 0), axis=-1)
    union = np.prod(np.maximum(box[1] - box[0], 0)) + areas - intersection
    return intersection / np.maximum(union, 1e-9)


def _refined(
    places: Float[np.ndarray, "joints 2"], heat: Float[np.ndarray, "rows columns joints"]
) -> Float[np.ndarray, "joints 2"]:
    """Places as fractions of a square, moved to the center of the heat around them where that is certain."""
    rows, columns, _ = heat.shape
    reach, refined = _HEATMAP_KERNEL // 2, places.copy()
    for joint, (x, y) in enumerate(places):
        column, row = math.floor(x * columns), math.floor(y * rows)
        if not (0 <= column < columns and 0 <= row < rows):
            continue
        top, left = max(row - reach, 0), max(column - reach, 0)
        window = _sigmoid(heat[top : row + reach + 1, left : column + reach + 1, joint])
        if window.max() < _MIN_HEAT or not window.sum():
            continue
        ys, xs = np.mgrid[: window.shape[0], : window.shape[1]]
        total = window.sum()
        refined[joint] = (((xs + left) * window).sum() / total / columns, ((ys + top) * window).sum() / total / rows)
    return refined


def _sigmoid(values: np.ndarray) -> np.ndarray:
    result: np.ndarray = 1 / (1 + np.exp(-np.clip(values, -80, 80)))
    return result
