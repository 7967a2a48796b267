"""What the clips look like, and that only the motion differs between classes."""

import dataclasses
import math

import numpy as np
import pytest

from vidjax.data.motion.paths import EASY, HARD, Path, states
from vidjax.data.motion.renderer import draw, render, render_states

SMALL = dataclasses.replace(EASY, frames=8)
LEVELS = pytest.mark.parametrize("recipe", [EASY, HARD], ids=["easy", "hard"])


@LEVELS
def test_start_and_speed_and_look_do_not_depend_on_the_class(recipe):
    first = [render((3, 1, 4), k, recipe)[0] for k in range(8)]
    for frame in first[1:]:
        np.testing.assert_array_equal(frame, first[0])


def test_draws_of_an_easy_clip_are_those_of_version_2():
    drawn = draw((0, 2, 24))
    assert drawn.path.start == pytest.approx([11.61323058, 42.63425656, 1.79746223, 2.47216628], abs=1e-8)
    assert drawn.path.speeds == pytest.approx([0.5878793364345938], rel=1e-12)
    assert drawn.path.jitters == pytest.approx([8.987733146655081], rel=1e-12)
    assert drawn.rim == pytest.approx(2.0875939052545833, rel=1e-12)


def test_hard_clip_is_its_states_drawn_one_by_one():
    drawn = draw((6, 2), HARD)
    for k in (0, 5):
        wanted = states(drawn.path, k, HARD)
        clip = render((6, 2), k, HARD)
        assert clip.shape == (64, 56, 56, 3)
        np.testing.assert_array_equal(clip, render_states(wanted, drawn, HARD))
        changes = abs(np.diff(clip.astype(int), axis=0)).max(axis=(1, 2, 3)) > 0
        np.testing.assert_array_equal(changes, np.diff(drawn.path.elapsed).any(axis=0))


def test_drawn_motion_has_the_right_sign():
    drawn = dataclasses.replace(draw(5), background=np.zeros((EASY.side, EASY.side, 3), np.float32))
    rows, columns = np.mgrid[: EASY.side, : EASY.side] + 0.5

    def mass_center_and_area(state):
        alone = render_states(np.array([state]), drawn)[0].sum(-1) > 0
        return columns[alone].mean(), rows[alone].mean(), alone.sum()

    middle = EASY.side / 2
    x0, y0, area0 = mass_center_and_area([middle, middle, 0.0, math.log(15)])
    x1, y1, _ = mass_center_and_area([middle + 5, middle + 3, 0.0, math.log(15)])
    assert (x1 - x0, y1 - y0) == pytest.approx((5, 3), abs=0.3)
    assert mass_center_and_area([middle, middle, 0.0, math.log(18)])[2] == pytest.approx(1.44 * area0, rel=0.05)
    # A quarter turn clockwise on the screen takes what is right of the center below it.
    x2, y2, _ = mass_center_and_area([middle, middle, math.pi / 2, math.log(15)])
    assert (x2 - middle, y2 - middle) == pytest.approx((-(y0 - middle), x0 - middle), abs=0.3)


@LEVELS
def test_reversed_clip_looks_like_a_clip_of_the_reversed_class(recipe):
    for k in range(0, 8, 3):
        drawn = draw((8, k), recipe)
        path = drawn.path
        forward = states(path, k, recipe)
        elapsed = (path.elapsed[:, -1:] - path.elapsed)[::-1, ::-1]
        reverse = Path(forward[-1], path.speeds[::-1], path.jitters[::-1], -path.turns[::-1], elapsed)
        backward = states(reverse, recipe.classes.reversed[k], recipe)
        difference = render_states(forward, drawn)[::-1].astype(int) - render_states(backward, drawn)
        assert abs(difference).max() <= 1  # rounding


def test_object_is_brighter_than_its_background_and_smaller_than_the_frame():
    assert EASY.background[1] < EASY.object_dark[0]
    assert 2 * EASY.radius[1] + 1 < EASY.side
    frames = render(11, 0, SMALL)
    assert frames.dtype == np.uint8 and frames.shape == (8, 56, 56, 3)
    background = draw(11, SMALL).background
    changed = abs(frames - background).max(-1) > 0.6
    assert 0.01 < changed.mean() < 0.6
    assert (frames >= np.rint(background) - 1).all()


def test_object_wraps_around_the_border():
    drawn = draw(2)
    middle, corner = EASY.side / 2, 0.0
    states = np.array([[middle, middle, 1.0, 3.0], [corner, corner, 1.0, 3.0]])
    blank = dataclasses.replace(drawn, background=np.zeros_like(drawn.background))
    centered, split = render_states(states, blank)
    np.testing.assert_array_equal(np.roll(centered, (EASY.side // 2, EASY.side // 2), axis=(0, 1)), split)


def test_no_object_looks_the_same_after_a_turn():
    for seed in range(20):
        drawn = draw((1, seed))
        turns = np.array([[28, 28, angle, math.log(16)] for angle in np.arange(0, 2 * math.pi, math.pi / 6)])
        frames = render_states(turns, drawn).astype(int)
        assert (abs(frames[1:] - frames[0]).mean(axis=(1, 2, 3)) > 1).all()
