"""The benchmark of optical flow: its known motions, and its tables."""

import numpy as np
import pytest

pytest.importorskip("cv2", reason="needs requirements-flow.txt")

from benchmarks import flow


def test_the_second_frame_has_moved():
    first, second = flow.pair((3.0, -2.0))
    assert first.dtype == np.uint8 and first.shape == (240, 320)
    np.testing.assert_array_equal(second[:-2, 3:], first[2:, :-3])


def test_errors_and_tables():
    errors = {
        m: {kind: [flow.error(m, (3.0, -2.0), kind)] * 4 for kind in flow.RANGES} for m in ("dis_fast", "farneback")
    }
    assert errors["dis_fast"]["bytes"][0] < 0.3 and errors["dis_fast"]["floats to 1"][0] is None
    assert errors["farneback"]["floats to 1"][0] > 3  # no motion at all
    made = flow.tables(errors, {"dis_fast": [1.0, 2.0]}, {"rgb": [10.0, 20.0], "rgb + flow": [20.0, 30.0]})
    assert [len(frame) for frame in made.values()] == [2, 2, 1, 2]
    assert made["The largest of these errors, by the range of the frames"].iloc[0, 2] == "refused"
