"""By construction, one frame says nothing of the class: shown on trajectories, without drawing."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from vidjax.data.motion_renderer import (
    CLASSES,
    EASY,
    MIRRORED,
    REVERSED,
    draw,
    draw_motion,
    origin,
    periods,
    render,
    render_states,
    trajectory,
    velocity,
)

SMALL = dataclasses.replace(EASY, frames=8)


def sampled_states(class_index: int, clips: int, seed: int) -> np.ndarray:
    """float64 [clips, T, 4]."""
    generator = np.random.default_rng(seed)
    states = []
    for _ in range(clips):
        start, speed, jitter = draw_motion(generator)
        states.append(trajectory(start, velocity(class_index, speed, jitter)))
    return np.stack(states)


def test_state_is_uniform_on_the_torus_at_every_frame_in_every_class():
    p_values = []
    for k in range(len(CLASSES)):
        states = (sampled_states(k, 1000, seed=k) - origin()) / periods()
        assert (states >= 0).all() and (states < 1 + 1e-9).all()
        for frame in (0, 7, 16, EASY.frames - 1):
            x, y, angle, size = states[:, frame].T
            # Sums modulo 1 of independent uniforms are uniform: sees dependence between the parts of the state too.
            for sample in (x, y, angle, size, (x + y) % 1, (x + size) % 1, (angle - size) % 1, (x - angle) % 1):
                p_values.append(stats.kstest(sample, "uniform").pvalue)
    assert min(p_values) > 1e-3 / len(p_values)


def test_uniformity_test_can_fail():
    start_at_left = np.random.default_rng(0).uniform(0, 0.9, 1500)
    assert stats.kstest(start_at_left, "uniform").pvalue < 1e-6


def test_start_and_speed_and_look_do_not_depend_on_the_class():
    first = [render((3, 1, 4), k)[0] for k in range(len(CLASSES))]
    for frame in first[1:]:
        np.testing.assert_array_equal(frame, first[0])


def test_motion_of_each_class_has_the_right_sign():
    step = {name: velocity(k, 0.5, 0.0) for k, name in enumerate(CLASSES)}
    x, y, angle, size = range(4)
    assert step["left"][x] < 0 < step["right"][x]
    assert step["up"][y] < 0 < step["down"][y]
    assert step["counter-clockwise"][angle] < 0 < step["clockwise"][angle]
    assert step["recede"][size] < 0 < step["approach"][size]
    for name, moving in (("left", x), ("up", y), ("clockwise", angle), ("approach", size)):
        still = np.delete(step[name], moving)
        assert abs(still).max() < 1e-12


def test_drawn_motion_has_the_right_sign():
    drawn = dataclasses.replace(draw(5), background=np.zeros((EASY.side, EASY.side, 3), np.float32))
    rows, columns = np.mgrid[: EASY.side, : EASY.side] + 0.5

    def mass_centre_and_area(state):
        alone = render_states(np.array([state]), drawn)[0].sum(-1) > 0
        return columns[alone].mean(), rows[alone].mean(), alone.sum()

    middle = EASY.side / 2
    x0, y0, area0 = mass_centre_and_area([middle, middle, 0.0, math.log(15)])
    x1, y1, _ = mass_centre_and_area([middle + 5, middle + 3, 0.0, math.log(15)])
    assert (x1 - x0, y1 - y0) == pytest.approx((5, 3), abs=0.3)
    assert mass_centre_and_area([middle, middle, 0.0, math.log(18)])[2] == pytest.approx(1.44 * area0, rel=0.05)
    # A quarter turn clockwise on the screen takes what is right of the centre below it.
    x2, y2, _ = mass_centre_and_area([middle, middle, math.pi / 2, math.log(15)])
    assert (x2 - middle, y2 - middle) == pytest.approx((-(y0 - middle), x0 - middle), abs=0.3)


@pytest.mark.parametrize("speed", EASY.speed)
@pytest.mark.parametrize("jitter", [-EASY.heading_jitter, 0.0, EASY.heading_jitter])
def test_displacement_over_15_frames_stays_under_half_a_turn(speed, jitter):
    for k in range(len(CLASSES)):
        share = 15 * abs(velocity(k, speed, jitter)) / (periods() / 2)
        assert 0.1 < share.max() < 1


def test_reversed_class_is_the_clip_backwards():
    generator = np.random.default_rng(0)
    for k in range(len(CLASSES)):
        start, speed, jitter = draw_motion(generator)
        forward = trajectory(start, velocity(k, speed, jitter))
        backward = trajectory(forward[-1], velocity(REVERSED[k], speed, jitter))
        difference = (backward[::-1] - forward + periods() / 2) % periods() - periods() / 2
        assert abs(difference).max() < 1e-9


def test_reversed_clip_looks_like_a_clip_of_the_opposite_class():
    for k in range(0, len(CLASSES), 2):
        drawn = draw((8, k), SMALL)
        forward = trajectory(drawn.start, velocity(k, drawn.speed, drawn.jitter, SMALL), SMALL)
        backward = trajectory(forward[-1], velocity(REVERSED[k], drawn.speed, drawn.jitter, SMALL), SMALL)
        difference = render_states(forward, drawn)[::-1].astype(int) - render_states(backward, drawn)
        assert abs(difference).max() <= 1  # rounding


def test_mirrored_class_is_the_motion_seen_in_a_mirror():
    mirror = np.array([-1, 1, -1, 1])  # x and angle change sign
    for k in range(len(CLASSES)):
        np.testing.assert_allclose(mirror * velocity(k, 0.5, 7.0), velocity(MIRRORED[k], 0.5, -7.0), atol=1e-12)


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
    centred, split = render_states(states, blank)
    np.testing.assert_array_equal(np.roll(centred, (EASY.side // 2, EASY.side // 2), axis=(0, 1)), split)


def test_no_object_looks_the_same_after_a_turn():
    for seed in range(20):
        drawn = draw((1, seed))
        turns = np.array([[28, 28, angle, math.log(16)] for angle in np.arange(0, 2 * math.pi, math.pi / 6)])
        frames = render_states(turns, drawn).astype(int)
        assert (abs(frames[1:] - frames[0]).mean(axis=(1, 2, 3)) > 1).all()
