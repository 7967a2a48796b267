import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.refusals import refused
from vidjax.reporting import pictures


def frames(t=4, h=6, w=8):
    return np.stack([np.full((h, w, 3), (50 * i, 10, 255 - 50 * i), np.uint8) for i in range(t)])


def test_strip_shows_every_frame_in_order():
    image = Image.open(io.BytesIO(pictures.strip(frames(), scale=2)))
    assert image.format == "PNG"
    assert image.size == (4 * 16 + 3 * 2, 12)
    for i in range(4):
        assert image.getpixel((i * 18 + 8, 6)) == (50 * i, 10, 255 - 50 * i, 255)
    assert image.getpixel((17, 6))[3] == 0, "gaps are transparent"


def test_animation_plays_for_ever():
    image = Image.open(io.BytesIO(pictures.animation(frames(), fps=25)))
    assert image.format == "WEBP"
    assert image.is_animated
    assert image.n_frames == 4
    assert image.info["loop"] == 0
    image.seek(3)
    image.load()
    assert image.info["duration"] == 40
    r, _, b = image.convert("RGB").getpixel((4, 3))
    assert abs(r - 150) < 12
    assert abs(b - 105) < 12


@pytest.mark.parametrize("bad", [frames().astype(np.float32), frames()[0], frames()[..., :1], frames()[:0]])
def test_other_arrays_are_refused(bad):
    with refused(ValueError, "uint8 [T > 0, H, W, 3]"):
        pictures.strip(bad)


def test_fps_must_be_positive():
    with refused(ValueError, "fps", "0"):
        pictures.animation(frames(), fps=0)


def test_write_samples(tmp_path):
    drawings = [("what is drawn", pictures.grid(np.ones((2, 3, 4, 4, 1))))]
    clips = [("../x", frames(), 25.0), ("y", frames(1), 5.0)]
    explanations = [("where it looked", frames(), 8.0)]
    pictures.write_samples(tmp_path / "samples", [("a/b", frames())], clips, drawings, explanations)
    index = json.loads((tmp_path / "samples" / "index.json").read_text())
    assert index == {
        "contact": [{"label": "a/b", "file": "contact/0.png"}],
        "clips": [{"id": "../x", "file": "clips/0.webp"}, {"id": "y", "file": "clips/1.webp"}],
        "drawings": [{"label": "what is drawn", "file": "drawing0.png"}],
        "explanations": [{"label": "where it looked", "file": "explanation0.webp"}],
    }
    for entry in index["contact"] + index["clips"] + index["drawings"] + index["explanations"]:
        Image.open(tmp_path / "samples" / entry["file"]).load()


def test_images_of_any_channels_become_pictures():
    bytes_of = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    np.testing.assert_array_equal(pictures.to_displayable(bytes_of), bytes_of[..., :3])
    two = pictures.to_displayable(bytes_of[..., :2])
    np.testing.assert_array_equal(two[..., :2], bytes_of[..., :2])
    assert (two[..., 2] == 128).all() and two.dtype == np.uint8
    assert (pictures.to_displayable(bytes_of[..., 1:2]) == bytes_of[..., 1:2]).all()
    pictures.strip(two)


def test_displacements_become_hues():
    vectors = np.full((1, 1, 4, 2), 128, np.uint8)
    vectors[0, 0, 1:] = [(255, 128), (1, 128), (128, 192)]  # right, left, half as far downwards
    shown = pictures.as_hues(vectors, (128.0, 128.0))
    np.testing.assert_allclose(shown[0, 0], [(255, 255, 255), (255, 0, 0), (0, 255, 255), (191, 255, 127)], atol=2)
    assert (pictures.as_hues(np.zeros((1, 2, 2, 2), np.float32), (0.0,)) == 255).all()


def test_floats_fill_the_range_around_their_middle():
    flow = np.zeros((1, 2, 2, 2), np.float32)
    flow[0, 0, 0], flow[0, 1, 1] = (-4, 2), (np.nan, 0)
    shown = pictures.to_displayable(flow, (0.0,))
    assert shown[0, 0, 0].tolist() == [0, 191, 128] and shown[0, 0, 1].tolist() == [128, 128, 128]
    assert pictures.to_displayable(flow)[0, 0, 0].tolist() == [0, 255, 128], "without one, the middle of their range"
    assert (pictures.to_displayable(np.full((1, 2, 2, 1), 7.0, np.float32)) == 128).all()


def test_captions_are_cut_to_their_place():
    black = np.zeros((3, 20, 30, 3), np.uint8)
    captions = [["a", "b"], ["x" * 200], [""]]
    with Image.open(io.BytesIO(pictures.captioned_strip(black, captions))) as strip:
        pixels = np.asarray(strip.convert("L"))
    assert pixels.shape[1] == 3 * 150 + 2 * 2 and (pixels[:100, :150] == 0).all()
    below = pixels[100:] < 128
    assert below[:16, :20].any() and below[16:, :20].any(), "two lines"
    assert below[:16, 152:290].any() and not below[:, 303:].any(), "no caption runs into the next"
    with Image.open(io.BytesIO(pictures.captioned_strip(black, [["y" * 60]]))) as strip:
        assert (np.asarray(strip.convert("L"))[100:, 300:] < 128).any(), "one caption for all"


def test_heat_leaves_what_is_cold():
    gray = np.full((2, 4, 4, 3), 90, np.uint8)
    heat = np.zeros((2, 4, 4), np.float32)
    heat[0, 0, 0] = 1
    shown = pictures.with_heat(gray, heat)
    assert (shown != gray).any(axis=-1).sum() == 1 and shown[0, 0, 0, 0] > 180 > shown[0, 0, 0, 2]
    assert pictures.side_by_side(gray, shown).shape == (2, 4, 10, 3)
    assert pictures.side_by_side(gray, shown, axis=1).shape == (2, 10, 4, 3)
    assert (pictures.centered(gray, 2) == gray[:, 1:3, 1:3]).all()
