"""Small videos with known content, made by the tests themselves."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from vidjax.data import RGB, Input, Negate, Permute, Source, Stream, Video

STEP = 8  # gray levels between two frame numbers: far more than the codec blurs


def write_video(path: Path, number: int = 0, frames: int = 32, size: tuple[int, int] = (32, 48), fps: int = 25) -> Path:
    """A gray video: the upper third shows the frame's number, the middle the video's, the lower a ramp to the right."""
    height, width = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj444p"
        stream.codec_context.options = {"qscale": "2", "flags": "+qscale"}
        for index in range(frames):
            gray = np.empty((height, width), np.uint8)
            gray[:] = np.linspace(0, 255, width)
            gray[: 2 * height // 3] = STEP * (number % 32)
            gray[: height // 3] = STEP * (index % 32)
            picture = av.VideoFrame.from_ndarray(np.repeat(gray[..., None], 3, axis=-1), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def shown(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frame numbers and video numbers that frames [..., H, W, 3] of `write_video` show."""
    height = frames.shape[-3]
    upper, middle = frames[..., height // 6, :, :], frames[..., height // 2, :, :]
    return tuple(np.rint(part.mean(axis=(-1, -2)) / STEP).astype(int) for part in (upper, middle))


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Video, ...]:
    """Seven videos of 14 to 32 frames."""
    folder = tmp_path_factory.mktemp("videos")
    return tuple(
        Video.of(f"v{n}", str(write_video(folder / f"v{n}.avi", n, frames=14 + 3 * n)), label=n % 3, group=f"v{n}")
        for n in range(7)
    )


@pytest.fixture(scope="session")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Video:
    path = tmp_path_factory.mktemp("damaged") / "noise.avi"
    path.write_bytes(bytes(range(256)) * 20)
    return Video.of("noise", str(path), label=1, group="noise")


FLOW = Input("flow", (2,), "uint8", vectors=True, mirror=Negate((0,)), mean=(128,), std=(64,))
POSE = Input("pose", (3, 3), "float32", space="points", mirror=Permute((0, 2, 1)))


@pytest.fixture(scope="session")
def walks(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Six videos as RGB, as flow (one field fewer) and as a pose, whose numbers say the frame and the video.

    RGB as `write_video`; flow is of half the size, its channels 3 x frame and 10 x video; of the pose x is frame / 64,
    y is video / 64, and at frame 3 key point 1 is missing.
    """
    folder = tmp_path_factory.mktemp("walks")
    videos = []
    for n in range(6):
        count = 14 + 3 * n
        flow = np.empty((count - 1, 16, 24, 2), np.uint8)
        flow[..., 0], flow[..., 1] = 3 * np.arange(count - 1)[:, None, None], 10 * n
        pose = np.ones((count, 3, 3), np.float32)
        pose[..., 0], pose[..., 1] = np.arange(count)[:, None] / 64, n / 64
        pose[3, 1] = np.nan
        np.save(folder / f"flow{n}.npy", flow)
        np.save(folder / f"pose{n}.npy", pose)
        rgb = Stream(str(write_video(folder / f"v{n}.avi", n, frames=count)))
        arrays = {name: Stream(str(folder / f"{name}{n}.npy")) for name in ("flow", "pose")}
        videos.append(Video(f"v{n}", n % 2, f"v{n}", {"rgb": rgb, **arrays}))
    parts = tuple(videos[:4]), tuple(videos[4:5]), tuple(videos[5:])
    return Source("walks", "1", ("even", "odd"), *parts, mirror="invariant", inputs=(RGB, FLOW, POSE))


@pytest.fixture
def write() -> Callable[..., Path]:
    return write_video


@pytest.fixture
def numbers() -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    return shown
