"""The square around what moves."""

import numpy as np
import pytest

from tests.refusals import refused
from vidjax.data import cropping
from vidjax.data.clips import ClipSpec
from vidjax.data.flow.fields import INPUT as FLOW
from vidjax.data.inputs import RGB
from vidjax.data.pipeline import evaluation_batches, training_batches
from vidjax.data.records import Stream, Video
from vidjax.data.views import ViewSpec
from vidjax.errors import OptionError

HEIGHT, WIDTH, SIDE = 40, 60, 20


def video(top, left, number=0):
    """Frames with a bright block; its flow, at half the size, is to the right."""
    frames = np.zeros((4, HEIGHT, WIDTH, 3), np.uint8)
    frames[:, top : top + 8, left : left + 8] = 200
    flow = np.full((4, HEIGHT // 2, WIDTH // 2, 2), 128, np.uint8)
    flow[:, top // 2 : top // 2 + 4, left // 2 : left // 2 + 4, 0] = 180
    streams = {"rgb": Stream("r", frames=frames), "flow": Stream("f", frames=flow)}
    return Video(str(number), 0, str(number), streams)


CLIP = ClipSpec(frames=2, crop=SIDE, crop_position="motion", short_side=HEIGHT)


@pytest.mark.parametrize(("top", "left"), [(14, 30), (0, 0), (32, 52)])
def test_the_square_follows_the_motion_in_all_inputs(top, left):
    options = {"inputs": (RGB, FLOW), "batch_size": 1, "threads": 0}
    with training_batches([video(top, left)], CLIP, seed=0, **options) as batches:
        trained = next(batches)
    with evaluation_batches([video(top, left)], CLIP, ViewSpec(), **options) as batches:
        tested = next(batches)
    for batch in (trained, tested):
        rgb, flow = batch.inputs["rgb"][0], batch.inputs["flow"][0]
        assert rgb.shape == (2, SIDE, SIDE, 3) and flow.shape == (2, SIDE, SIDE, 2)
        assert (rgb[0, ..., 0] > 100).sum() == 64  # all of the block
        np.testing.assert_array_equal(rgb[0, ..., 0] > 100, flow[0, ..., 0] > 185)
        if (top, left) == (14, 30):
            rows, columns = np.nonzero(rgb[0, ..., 0] > 100)
            assert abs(rows.mean() + 0.5 - SIDE / 2) <= 2 and abs(columns.mean() + 0.5 - SIDE / 2) <= 2


def test_without_motion_it_is_the_center():
    frames = cropping.Frames(
        video(0, 0), (RGB, FLOW), {"rgb": np.zeros((1, 40, 60, 3)), "flow": np.full((1, 40, 60, 2), 128)}, None
    )
    assert frames.motion_corners(SIDE) == {"rgb": (10, 20), "flow": (10, 20)}


def test_it_needs_flow():
    with refused(OptionError, "crop_position", "rgb"):
        training_batches([video(0, 0)], CLIP, seed=0, batch_size=1)
