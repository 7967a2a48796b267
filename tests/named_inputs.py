"""Small data of several inputs, in files of the tests' own making, and networks that take them.

Every video shows a block that moves to the left or to the right: as pictures, as their flow, and as two key points at
its edges. Mirroring exchanges the classes.
"""

from pathlib import Path

import av
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vidjax.data.inputs import RGB, Input, Negate, Permute
from vidjax.data.records import Source, Stream, Video

CLASSES = ("left", "right")
FLOW = Input("flow", (2,), "uint8", vectors=True, mirror=Negate((0,)), mean=(128.0, 128.0), std=(16.0, 16.0))
POSE = Input("pose", (2, 3), "float32", space="points", mirror=Permute((1, 0)))
SECOND = Input("rgb_2", (3,), "uint8", reader="video", color=True)
_FRAMES, _HEIGHT, _WIDTH, _BLOCK = 14, 40, 48, 8
_PARTS = {"train": 8, "validation": 4, "test": 4}


def flow(*, root: str) -> Source:
    """Flow alone, quantized: 128 is no motion, 16 a pixel."""
    return _source(Path(root), (FLOW,))


def rgb_and_flow(*, root: str) -> Source:
    """Pictures and their flow, which is a field shorter."""
    return _source(Path(root), (RGB, FLOW))


def rgb_and_pose(*, root: str) -> Source:
    """Pictures and key points as shares of the frame, with a confidence; now and then one is missing (NaN)."""
    return _source(Path(root), (RGB, POSE))


def pose(*, root: str) -> Source:
    """Key points alone."""
    return _source(Path(root), (POSE,))


def pair(*, root: str) -> Source:
    """Two files of one example, the second upside down."""
    return _source(Path(root), (RGB, SECOND))


def _source(root: Path, inputs: tuple[Input, ...]) -> Source:
    number, parts = 0, {}
    for part, count in _PARTS.items():
        videos = []
        for _ in range(count):
            name = f"{part}{number}"
            streams = {each.name: Stream(str(_write(root, each, name, number))) for each in inputs}
            videos.append(Video(name, number % 2, name, streams))
            number += 1
        parts[part] = tuple(videos)
    return Source("toy", "made", CLASSES, **parts, mirror=(1, 0), inputs=inputs)


def _lefts(number: int) -> np.ndarray:
    """Where the left edge of the block is in each frame, int [T]."""
    direction = 1 if number % 2 else -1
    return (_WIDTH - _BLOCK) // 2 - 7 * direction + number % 3 + direction * np.arange(_FRAMES)


def _write(root: Path, stream: Input, name: str, number: int) -> Path:
    path = root / f"{name}.{stream.name}.{'avi' if stream.reader == 'video' else 'npy'}"
    if path.exists():
        return path
    root.mkdir(parents=True, exist_ok=True)
    lefts, top = _lefts(number), 12 + number % 5
    if stream.space == "points":
        points = np.full((_FRAMES, 2, 3), 0.9, np.float32)
        points[:, :, 1] = (top + _BLOCK / 2) / _HEIGHT
        points[:, 0, 0], points[:, 1, 0] = lefts / _WIDTH, (lefts + _BLOCK) / _WIDTH
        points[number % _FRAMES, 0] = np.nan
        np.save(path, points)
        return path
    block = np.zeros((_FRAMES, _HEIGHT, _WIDTH), bool)
    for t, left in enumerate(lefts):
        block[t, top : top + _BLOCK, left : left + _BLOCK] = True
    if stream.name == "flow":
        fields = np.full((_FRAMES - 1, _HEIGHT, _WIDTH, 2), 128, np.uint8)
        fields[..., 0] = np.where(block[:-1], 128 + 16 * (lefts[1] - lefts[0]), 128)
        np.save(path, fields)
        return path
    gray = np.where(block, 220, 40).astype(np.uint8)[:, :: -1 if stream.name == "rgb_2" else 1]
    with av.open(str(path), "w") as container:
        track = container.add_stream("mjpeg", rate=25)
        track.width, track.height, track.pix_fmt = _WIDTH, _HEIGHT, "yuvj420p"
        for picture in np.repeat(gray[..., None], 3, axis=-1):
            container.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(track.encode())
    return path


def _seen(clips: jax.Array) -> jax.Array:
    """Means over 4 x 4 parts of each frame, [B, T, H, W, C] -> [B, numbers]."""
    b, t, h, w, c = clips.shape
    return clips.reshape(b, t, 4, h // 4, 4, w // 4, c).mean((3, 5)).reshape(b, -1)


class FlowNet(nn.Module):
    """Flow alone; returns plain logits."""

    num_classes: int
    hidden: int = 8

    @nn.compact
    def __call__(self, flow, train=False):
        return nn.Dense(self.num_classes)(nn.relu(nn.Dense(self.hidden)(_seen(flow))))


class TwoStream(nn.Module):
    """Pictures and flow."""

    num_classes: int

    @nn.compact
    def __call__(self, rgb, flow, *, train=False):
        return nn.Dense(self.num_classes)(jnp.concatenate([_seen(rgb), _seen(flow)], axis=-1))


class PoseNet(nn.Module):
    """Pictures and key points, of which the missing ones do not count."""

    num_classes: int

    @nn.compact
    def __call__(self, rgb, pose, *, pose_mask, train=False):
        steps = (pose[:, 1:] - pose[:, :-1]) * (pose_mask[:, 1:] & pose_mask[:, :-1])[..., None]
        features = jnp.concatenate(
            [_seen(rgb), pose.reshape(len(pose), -1), 20 * steps.reshape(len(pose), -1)], axis=-1
        )
        return nn.Dense(self.num_classes)(features)


class PointsNet(nn.Module):
    """Key points alone."""

    num_classes: int

    @nn.compact
    def __call__(self, pose, train=False):
        return nn.Dense(self.num_classes)(pose.reshape(len(pose), -1))


class Pair(nn.Module):
    """The same tower on both of a pair."""

    num_classes: int

    @nn.compact
    def __call__(self, rgb, rgb_2, *, train=False):
        tower = nn.Dense(8, name="tower")
        return nn.Dense(self.num_classes)(
            jnp.concatenate([tower(_seen(rgb)), tower(_seen(rgb_2[:, :, ::-1]))], axis=-1)
        )
