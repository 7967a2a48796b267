"""By construction, one frame says nothing of the class, and 16 frames nothing of the order: shown on paths."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy import stats

from vidjax.data.motion.paths import EASY, HARD, PAIRS, SINGLE, Path, draw_path, origin, periods, states, velocity

LEVELS = pytest.mark.parametrize("recipe", [EASY, HARD], ids=["easy", "hard"])
X, Y, ANGLE, SIZE = range(4)


def drawn_paths(count: int, seed: int, recipe) -> list[Path]:
    generator = np.random.default_rng(seed)
    return [draw_path(generator, recipe) for _ in range(count)]


def rests_and_lengths(path: Path) -> tuple[int, int, int, int, int]:
    """Rest, length of the first motion, rest, length of the second, rest: in steps, found in the path."""
    moving = np.diff(path.elapsed)
    words = [(moving[0, t], moving[1, t]) for t in range(moving.shape[1])]
    runs = [(word, len(list(group))) for word, group in itertools.groupby(words)]
    assert [word for word, _ in runs] == [(0, 0), (1, 0), (0, 0), (0, 1), (0, 0)]
    return tuple(length for _, length in runs)


@LEVELS
def test_state_is_uniform_on_the_torus_at_every_frame_in_every_class(recipe):
    p_values = []
    for k in range(len(recipe.classes.names)):
        wanted = np.stack([states(path, k, recipe) for path in drawn_paths(500, k, recipe)])
        assert wanted.shape == (500, recipe.frames, 4)
        shares = (wanted - origin(recipe)) / periods(recipe)
        assert (shares >= 0).all() and (shares < 1 + 1e-9).all()
        for frame in (0, recipe.frames // 4, recipe.frames // 2, recipe.frames - 1):
            x, y, angle, size = shares[:, frame].T
            # Sums modulo 1 of independent uniforms are uniform: sees dependence between the parts of the state too.
            for sample in (x, y, angle, size, (x + y) % 1, (x + size) % 1, (angle - size) % 1, (x - angle) % 1):
                p_values.append(stats.kstest(sample, "uniform").pvalue)
    assert min(p_values) > 1e-3 / len(p_values)


def test_uniformity_test_can_fail():
    start_at_left = np.random.default_rng(0).uniform(0, 0.9, 1500)
    assert stats.kstest(start_at_left, "uniform").pvalue < 1e-6


def test_motion_of_each_class_has_the_right_sign():
    step = {name: velocity(name, 0.5, 0.0) for name in SINGLE.names}
    assert step["left"][X] < 0 < step["right"][X]
    assert step["up"][Y] < 0 < step["down"][Y]
    assert step["counter-clockwise"][ANGLE] < 0 < step["clockwise"][ANGLE]
    assert step["recede"][SIZE] < 0 < step["approach"][SIZE]
    for name, moving in (("left", X), ("up", Y), ("clockwise", ANGLE), ("approach", SIZE)):
        still = np.delete(step[name], moving)
        assert abs(still).max() < 1e-12


def test_easy_state_moves_evenly_from_its_start():
    for k, name in enumerate(SINGLE.names):
        path = drawn_paths(1, k, EASY)[0]
        step = velocity(name, path.speeds[0], path.jitters[0])
        assert not path.turns.any()
        expected = origin() + (path.start + np.outer(range(32), step) - origin()) % periods()
        np.testing.assert_array_equal(states(path, k), expected)  # to the bit: the files stay what they are


def test_hard_class_is_first_one_motion_then_the_other():
    pure = dataclasses.replace(HARD, heading_jitter=0.0, distraction=None)
    expected = {"left": (X, -1), "right": (X, 1), "up": (Y, -1), "down": (Y, 1)}
    assert len(set(PAIRS.names)) == 8
    for k, name in enumerate(PAIRS.names):
        for path in drawn_paths(5, k, pure):
            wanted = states(path, k, pure)
            change = (np.diff(wanted, axis=0) + periods(HARD) / 2) % periods(HARD) - periods(HARD) / 2
            before, first, between, second, _ = rests_and_lengths(path)
            begins = (before, before + first + between)
            for motion, begin, length, speed in zip(name.split("-"), begins, (first, second), path.speeds):
                axis, sign = expected[motion]
                # Speed 1 is half the width, 28 pixels, in 6 frames.
                phase = change[begin : begin + length]
                np.testing.assert_allclose(phase[:, axis], sign * speed * 28 / 6, atol=1e-9)
                assert abs(np.delete(phase, axis, axis=1)).max() < 1e-9
                change[begin : begin + length] = 0
            assert abs(change).max() < 1e-9  # at rest otherwise


def test_distraction_turns_and_zooms_while_the_object_moves():
    for path in drawn_paths(20, 7, HARD):
        change = (np.diff(states(path, 3, HARD), axis=0) + periods(HARD) / 2) % periods(HARD) - periods(HARD) / 2
        for turn, moving in zip(path.turns, np.diff(path.elapsed).astype(bool), strict=True):
            # Speed 1 is half a turn, or half the range of log-sizes, in 6 frames.
            expected = np.broadcast_to(turn * [np.pi / 6, np.log(24 / 9) / 2 / 6], (moving.sum(), 2))
            np.testing.assert_allclose(change[moving, 2:], expected, atol=1e-9)
        assert (abs(path.turns) <= HARD.distraction).all()


def test_no_window_of_16_frames_shows_both_motions():
    for path in drawn_paths(1000, 0, HARD):
        shown = path.elapsed[:, 15:] > path.elapsed[:, :-15]
        assert shown.any(axis=1).all() and not shown.all(axis=0).any()


def test_windows_of_16_frames_show_the_first_motion_as_they_show_the_second():
    # All that a window shows of a motion is the steps made since its first frame. The windows on a motion are
    # all of its parts, wherever it stands: as many, the same, in the same order.
    def windows(elapsed):
        parts = [tuple(elapsed[start : start + 16] - elapsed[start]) for start in range(len(elapsed) - 15)]
        return [part for part in parts if part[-1]]

    for path in drawn_paths(100, 1, HARD):
        for elapsed in path.elapsed:
            length = elapsed[-1]
            alone = np.clip(np.arange(100) - 40, 0, length)
            assert windows(elapsed) == windows(alone)
            assert len(windows(elapsed)) == 15 + length - 1


def test_ten_frames_at_stride_6_span_both_motions_from_every_start():
    elapsed = np.stack([path.elapsed for path in drawn_paths(1000, 2, HARD)])
    for start in range(HARD.frames - 54):
        first, *_, last = np.moveaxis(elapsed[..., start : start + 55 : 6], -1, 0)
        assert not first.any()
        np.testing.assert_array_equal(last, elapsed[..., -1])


def test_rests_and_lengths_fill_the_clip_and_vary():
    found = np.array([rests_and_lengths(path) for path in drawn_paths(1000, 3, HARD)])
    assert (found.sum(axis=1) == HARD.frames - 1).all()
    rests, lengths = found[:, ::2], found[:, 1::2]
    assert rests.min(axis=0).tolist() == [15, 15, 15] and (rests.max(axis=0) >= 22).all()
    assert [np.unique(column).tolist() for column in lengths.T] == [[4, 5, 6]] * 2


def test_spare_steps_are_divided_in_every_way_with_the_same_probability():
    # 2 spare steps for 3 rests: 6 ways.
    small = dataclasses.replace(HARD, frames=3 * 15 + 2 * 4 + 2 + 1, phase=(4, 4))
    ways = [rests_and_lengths(path)[::2] for path in drawn_paths(1500, 4, small)]
    kinds, counts = np.unique(ways, axis=0, return_counts=True)
    assert len(kinds) == 6
    assert stats.chisquare(counts).pvalue > 1e-3


def test_first_and_second_motion_have_the_same_distribution_and_are_independent():
    paths = drawn_paths(1500, 5, HARD)
    lengths = np.array([path.elapsed[:, -1] for path in paths])
    turns = np.array([path.turns for path in paths])
    speeds, jitters = np.array([path.speeds for path in paths]), np.array([path.jitters for path in paths])
    for values in (speeds, jitters, turns[..., 0], turns[..., 1]):
        assert stats.ks_2samp(*values.T).pvalue > 1e-3
        assert stats.spearmanr(*values.T).pvalue > 1e-3
    table = np.array([[((lengths == (a, b)).all(axis=1)).sum() for b in (4, 5, 6)] for a in (4, 5, 6)])
    assert stats.chisquare(table.ravel()).pvalue > 1e-3


@LEVELS
def test_displacement_stays_under_half_a_turn(recipe):
    # Easy: frames 15 apart. Hard: a whole motion, which is all that a window of that size can show.
    steps = (15, 15) if recipe is EASY else recipe.phase
    for name in {motion for motions in recipe.classes.motions for motion in motions}:
        for jitter in (-recipe.heading_jitter, 0.0, recipe.heading_jitter):
            lowest, highest = (
                (count * abs(velocity(name, speed, jitter, recipe)) / (periods(recipe) / 2)).max()
                for count, speed in zip(steps, recipe.speed, strict=True)
            )
            assert 0 < lowest < highest < 1
    assert recipe.distraction is None or recipe.distraction < 1


def backwards(path: Path, last: np.ndarray) -> Path:
    """The path shown backwards: it starts at `last`, and the last motion is the first."""
    elapsed = (path.elapsed[:, -1:] - path.elapsed)[::-1, ::-1]
    return Path(last, path.speeds[::-1], path.jitters[::-1], -path.turns[::-1], elapsed)


def difference(a: np.ndarray, b: np.ndarray, recipe) -> float:
    return abs((a - b + periods(recipe) / 2) % periods(recipe) - periods(recipe) / 2).max()


@LEVELS
def test_reversed_class_is_the_clip_backwards(recipe):
    for k, other in enumerate(recipe.classes.reversed):
        path = drawn_paths(1, k, recipe)[0]
        forward = states(path, k, recipe)
        backward = states(backwards(path, forward[-1]), other, recipe)
        assert difference(backward[::-1], forward, recipe) < 1e-9


@LEVELS
def test_mirrored_class_is_the_motion_seen_in_a_mirror(recipe):
    mirror = np.array([-1, 1, -1, 1])  # x and angle change sign
    lowest = origin(recipe)
    for k, other in enumerate(recipe.classes.mirrored):
        path = drawn_paths(1, k, recipe)[0]
        start = lowest + mirror * (path.start - lowest)
        seen = dataclasses.replace(path, start=start, jitters=-path.jitters, turns=path.turns * mirror[2:])
        in_mirror = lowest + mirror * (states(path, k, recipe) - lowest)
        assert difference(states(seen, other, recipe), in_mirror, recipe) < 1e-9


def test_tables_of_the_hard_classes():
    names = PAIRS.names
    assert names == ("left-up", "up-left", "right-up", "up-right", "left-down", "down-left", "right-down", "down-right")
    assert [names[k] for k in PAIRS.reversed] == [
        *("down-right", "right-down", "down-left", "left-down", "up-right", "right-up", "up-left", "left-up")
    ]
    assert [names[k] for k in PAIRS.mirrored] == [
        *("right-up", "up-right", "left-up", "up-left", "right-down", "down-right", "left-down", "down-left")
    ]
    swapped = {"-".join(reversed(name.split("-"))) for name in names}
    assert swapped == set(names)
