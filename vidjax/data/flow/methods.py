"""Methods of optical flow, by OpenCV: where each pixel of a frame is in the next one."""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from vidjax.errors import DataError

Gray = UInt8[np.ndarray, "height width"]
Field = Float[np.ndarray, "height width 2"]

MIN_SIDE = 16  # pixels; DIS refuses less
# Farneback's parameters, as in OpenCV's own example of the function.
_FARNEBACK = {
    "pyr_scale": 0.5,
    "levels": 3,
    "winsize": 15,
    "iterations": 3,
    "poly_n": 5,
    "poly_sigma": 1.2,
    "flags": 0,
}
_CAMERA_STEP = 8  # pixels between the points by which the camera's motion is found
_CAMERA_TOLERANCE = 1.0  # pixels by which a point may move otherwise
_CAMERA_POINTS = 16  # fewer of them say nothing


def is_installed() -> bool:
    """Whether OpenCV is there."""
    return importlib.util.find_spec("cv2") is not None


def _cv2() -> Any:
    """OpenCV, by a single thread: several videos are computed at once.

    Raises:
      DataError: if it is not installed, or without its contributed modules.
    """
    if not is_installed():
        raise DataError("optical flow needs OpenCV: pip install -r requirements-flow.txt")
    import cv2

    cv2.setNumThreads(1)
    return cv2


def _contributed(name: str) -> Any:
    cv2 = _cv2()
    if not hasattr(cv2, "optflow"):
        raise DataError(
            "this OpenCV has no contributed modules: remove its package, then pip install -r requirements-flow.txt"
        )
    return getattr(cv2.optflow, name)()


def _dis(preset: str) -> Any:
    cv2 = _cv2()
    return cv2.DISOpticalFlow_create(getattr(cv2, f"DISOPTICAL_FLOW_PRESET_{preset}"))


def _farneback() -> Any:
    cv2 = _cv2()
    return functools.partial(cv2.calcOpticalFlowFarneback, flow=None, **_FARNEBACK)


def _calc(create: Callable[[], Any]) -> Callable[[], Any]:
    def method() -> Any:
        algorithm = create()
        return lambda first, second: algorithm.calc(first, second, None)

    return method


# Name -> makes a function of two consecutive gray frames, each for one thread.
METHODS: dict[str, Callable[[], Callable[[Gray, Gray], Field]]] = {
    "dis_fast": _calc(lambda: _dis("FAST")),
    "dis_ultrafast": _calc(lambda: _dis("ULTRAFAST")),
    "dis_medium": _calc(lambda: _dis("MEDIUM")),
    "farneback": _farneback,
    "tvl1": _calc(lambda: _contributed("DualTVL1OpticalFlow_create")),
    "deepflow": _calc(lambda: _contributed("createOptFlow_DeepFlow")),
}


def version() -> str:
    """Of OpenCV."""
    found: str = _cv2().__version__
    return found


def gray_of(rgb: UInt8[np.ndarray, "height width 3"]) -> Gray:
    """A frame as the methods take it: uint8, since floats are taken for other ranges, or refused."""
    cv2 = _cv2()
    result: np.ndarray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    return result


def without_camera(field: Field) -> Field:
    """The field minus the motion of the camera: the homography that most of its points follow, by RANSAC.

    The field itself where no homography is found.
    """
    cv2, (height, width, _) = _cv2(), field.shape
    ys, xs = np.mgrid[_CAMERA_STEP // 2 : height : _CAMERA_STEP, _CAMERA_STEP // 2 : width : _CAMERA_STEP]
    points = np.stack([xs, ys], -1).reshape(-1, 2)
    if len(points) < _CAMERA_POINTS:
        return field
    cv2.setRNGSeed(0)  # RANSAC draws at random
    before = points.astype(np.float32)
    camera, _ = cv2.findHomography(before, before + field[points[:, 1], points[:, 0]], cv2.RANSAC, _CAMERA_TOLERANCE)
    if camera is None:
        return field
    ys, xs = np.mgrid[:height, :width]
    everywhere = np.stack([xs, ys], -1).astype(np.float32)
    moved = cv2.perspectiveTransform(everywhere.reshape(-1, 1, 2), camera).reshape(height, width, 2)
    result: np.ndarray = field - (moved - everywhere)
    return result
