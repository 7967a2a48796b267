"""Frames as image files: strips, grids, animations, and the `samples/` folder of a run."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GAP = 2  # transparent pixels between the frames of a strip
_FONT_SIZE, _LINE = 12, 16  # of captions, in pixels
_HEAT_ALPHA = 0.6
_LIMBS = {"left": "orange", "right": "deepskyblue"}
_CERTAIN = 0.5  # confidence of a joint
_CAPTIONED_WIDTH = 150  # of a frame with a caption of its own, in pixels, at least


def _images(frames: np.ndarray, scale: float) -> list[Image.Image]:
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not len(frames):
        raise ValueError(f"frames must be uint8 [T > 0, H, W, 3], not {frames.dtype} {list(frames.shape)}")
    _, h, w, _ = frames.shape
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    return [Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC) for frame in frames]


def to_displayable(images: np.ndarray, middle: Sequence[float] | None = None) -> np.ndarray:
    """Converts images with any number of channels to RGB: the first three channels; missing ones become gray.

    Args:
      images: uint8 [T, H, W, C] in 0..255, or float in any range.
      middle: for floats, the value that becomes gray, one for all channels or one per channel; None: the middle of
        their range.

    Returns:
      uint8 [T, H, W, 3].
    """
    if images.dtype != np.uint8:
        images = np.nan_to_num(images)
        center = (images.min() + images.max()) / 2 if middle is None else np.asarray(middle, np.float32)
        offset = images - center
        images = np.rint(127.5 + offset * (127.5 / max(float(np.abs(offset).max()), 1e-12))).astype(np.uint8)
    channels = images.shape[-1]
    if channels == 1:
        return np.repeat(images, 3, axis=-1)
    missing = np.full((*images.shape[:-1], max(3 - channels, 0)), 128, np.uint8)
    return np.concatenate([images[..., :3], missing], axis=-1)


def as_hues(vectors: np.ndarray, middle: Sequence[float]) -> np.ndarray:
    """Shows displacements: the hue is their direction, red to the right; the larger, the deeper; white is no motion.

    Args:
      vectors: uint8 or float [T, H, W, 2 or more], to the right and downwards.
      middle: the value of no motion, one for both channels or one per channel.

    Returns:
      uint8 [T, H, W, 3]; the largest displacements of the clip, but for a thousandth, are fully saturated.
    """
    from matplotlib.colors import hsv_to_rgb  # takes a while to import

    offset = vectors[..., :2].astype(np.float32) - np.asarray(middle, np.float32)[:2]
    magnitude = np.linalg.norm(offset, axis=-1)
    largest = max(float(np.percentile(magnitude, 99.9)), 1e-12)
    hue = np.arctan2(offset[..., 1], offset[..., 0]) / (2 * np.pi) % 1
    hsv = np.stack([hue, np.minimum(magnitude / largest, 1), np.ones_like(hue)], axis=-1)
    return np.rint(255 * hsv_to_rgb(hsv)).astype(np.uint8)


def strip(frames: np.ndarray, scale: float = 1.0) -> bytes:
    """Frames side by side in a row.

    Args:
      frames: uint8 [T, H, W, 3].
      scale: size of a frame in the image relative to its original size.

    Returns:
      A PNG file.

    Raises:
      ValueError: if `frames` has another type or shape.
    """
    images = _images(frames, scale)
    w, h = images[0].size
    row = Image.new("RGBA", (len(images) * (w + _GAP) - _GAP, h))
    for i, image in enumerate(images):
        row.paste(image, (i * (w + _GAP), 0))
    buffer = io.BytesIO()
    row.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def captioned_strip(frames: np.ndarray, captions: Sequence[Sequence[str]]) -> bytes:
    """Frames side by side on white, with lines of text under each, or under all of them.

    Args:
      frames: uint8 [T, H, W, 3]; small ones are magnified until a caption fits.
      captions: the lines of each frame, or one entry: the lines under the whole strip. What is too long is cut.

    Returns:
      A PNG file.
    """
    images = _images(frames, max(1.0, _CAPTIONED_WIDTH / frames.shape[2]))
    w, h = images[0].size
    page = Image.new(
        "RGB", (len(images) * (w + _GAP) - _GAP, h + _LINE * max(map(len, captions)) + _LINE // 4), "white"
    )
    for i, image in enumerate(images):
        page.paste(image, (i * (w + _GAP), 0))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(_FONT_SIZE)
    width = w if len(captions) > 1 else page.width
    for i, lines in enumerate(captions):
        for number, line in enumerate(lines):
            while line and draw.textlength(line, font) > width:
                line = line.rstrip("\u2026")[:-1] + "\u2026" if len(line) > 1 else ""
            draw.text((i * (w + _GAP), h + 1 + number * _LINE), line, "black", font)
    buffer = io.BytesIO()
    page.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def with_heat(frames: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Colors the places of frames by a map, from unchanged (0) over dark red to bright yellow (1).

    Args:
      frames: uint8 [T, H, W, 3].
      heat: float [T, H, W] in 0..1.

    Returns:
      uint8 [T, H, W, 3].
    """
    import matplotlib  # takes a while to import, and only this needs it

    colors = matplotlib.colormaps["hot"](0.25 + 0.65 * heat)[..., :3] * 255
    share = _HEAT_ALPHA * heat[..., None]
    return np.rint((1 - share) * frames + share * colors).astype(np.uint8)


def with_skeleton(
    frames: np.ndarray, joints: np.ndarray, names: Sequence[str], bones: Sequence[Sequence[int]]
) -> np.ndarray:
    """Draws what a pose detector found: left limbs orange, right ones blue, gray where it is less certain than 0.5.

    Args:
      frames: uint8 [T, H, W, 3].
      joints: float [T, K, 3], x and y as fractions of the frame, and a confidence; NaN where nothing was found.
      names: of the joints, [K].
      bones: pairs of numbers of joints that a line connects.

    Returns:
      uint8 [T, H, W, 3].
    """
    drawn = []
    for frame, found in zip(frames, joints, strict=True):
        image = Image.fromarray(frame)
        draw, pixels = ImageDraw.Draw(image), found[:, :2] * (frame.shape[1], frame.shape[0])
        for first, second in bones:
            if np.isfinite(found[[first, second]]).all():
                sides = {names[joint].partition("_")[0] for joint in (first, second)}
                color = _LIMBS.get(sides.pop() if len(sides) == 1 else "", "white")
                color = color if found[[first, second], 2].min() >= _CERTAIN else "gray"
                draw.line([tuple(pixels[first]), tuple(pixels[second])], color, max(2, frame.shape[0] // 80))
        drawn.append(np.asarray(image))
    return np.stack(drawn)


def centered(frames: np.ndarray, side: int) -> np.ndarray:
    """The square in the middle of frames [T, H, W, C], as an evaluation cuts it."""
    top, left = ((length - side) // 2 for length in frames.shape[1:3])
    return frames[:, top : top + side, left : left + side]


def side_by_side(left: np.ndarray, right: np.ndarray, axis: int = 2) -> np.ndarray:
    """Two clips uint8 [T, H, W, 3] as one, with a white line between; axis 1: one above the other."""
    shape = list(left.shape)
    shape[axis] = _GAP
    return np.concatenate([left, np.full(shape, 255, np.uint8), right], axis=axis)


def grid(images: np.ndarray, scale: int = 1) -> bytes:
    """A grid of images.

    Args:
      images: float [rows, columns, H, W, C] in 0..1, with one channel or three.
      scale: size of an image in the grid relative to its original size.

    Returns:
      A PNG file.
    """
    rows, columns, h, w, channels = images.shape
    # With a white line below and to the right of each image.
    page = np.ones((rows, h + 1, columns, w + 1, channels), np.float32)
    page[:, :h, :, :w] = images.transpose(0, 2, 1, 3, 4)
    page = page.reshape(rows * (h + 1), columns * (w + 1), channels)[:-1, :-1]
    pixels = np.clip(255 * page, 0, 255).round().astype(np.uint8)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    buffer = io.BytesIO()
    image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST).save(
        buffer, "PNG", optimize=True
    )
    return buffer.getvalue()


def animation(frames: np.ndarray, fps: float, scale: float = 1.0) -> bytes:
    """A looping animation of frames.

    Args:
      frames: uint8 [T, H, W, 3].
      fps: frames per second.
      scale: size of the image relative to the frames.

    Returns:
      An animated WebP file.

    Raises:
      ValueError: if `frames` has another type or shape, or `fps` is not positive.
    """
    if not fps > 0:
        raise ValueError(f"fps must be positive, not {fps}")
    first, *others = _images(frames, scale)
    buffer = io.BytesIO()
    # WebP merges equal consecutive frames into a longer one, which looks the same.
    first.save(
        buffer, "WEBP", save_all=True, append_images=others, duration=round(1000 / fps), loop=0, quality=80, method=4
    )
    return buffer.getvalue()


def write_samples(
    folder: Path,
    contact: Sequence[tuple[str, np.ndarray]],
    clips: Sequence[tuple[str, np.ndarray, float]],
    drawings: Sequence[tuple[str, bytes]] = (),
    explanations: Sequence[tuple[str, np.ndarray, float]] = (),
    scale: float = 1.0,
) -> None:
    """Writes the images of a report, with `index.json`.

    Args:
      folder: the `samples/` folder, created if it is missing.
      contact: (class name, frames uint8 [T, H, W, 3]), shown as a strip on the contact sheet.
      clips: (video id, frames uint8 [T, H, W, 3], frames per second), shown as an animation.
      drawings: (caption, PNG file), shown unchanged.
      explanations: (caption, frames uint8 [T, H, W, 3], frames per second), shown as an animation.
      scale: size of the images relative to the frames.
    """
    folder = Path(folder)
    (folder / "contact").mkdir(parents=True, exist_ok=True)
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    index: dict[str, list[dict[str, str]]] = {"contact": [], "clips": [], "drawings": [], "explanations": []}
    for i, (label, frames) in enumerate(contact):
        file = f"contact/{i}.png"
        (folder / file).write_bytes(strip(frames, scale))
        index["contact"].append({"label": label, "file": file})
    for i, (video, frames, fps) in enumerate(clips):
        file = f"clips/{i}.webp"
        (folder / file).write_bytes(animation(frames, fps, scale))
        index["clips"].append({"id": video, "file": file})
    for i, (caption, content) in enumerate(drawings):
        file = f"drawing{i}.png"
        (folder / file).write_bytes(content)
        index["drawings"].append({"label": caption, "file": file})
    for i, (caption, frames, fps) in enumerate(explanations):
        file = f"explanation{i}.webp"
        (folder / file).write_bytes(animation(frames, fps, scale))
        index["explanations"].append({"label": caption, "file": file})
    (folder / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
