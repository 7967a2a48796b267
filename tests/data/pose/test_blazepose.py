"""BlazePose: what is done to its networks' numbers, and, where its packages are, what it finds in real clips."""

import numpy as np
import pytest

from tests.refusals import refused
from vidjax.data.inputs import RGB
from vidjax.data.pose import blazepose
from vidjax.data.pose.blazepose import BlazePose
from vidjax.data.pose.poses import mirror_order
from vidjax.data.records import Stream
from vidjax.data.streams import read_frames
from vidjax.errors import DataError

# Pixels in the first frame of v_BodyWeightSquats_g08_c01, 320 x 240, by MediaPipe 0.10.21.
RECORDED = {
    "nose": (159.4, 78.4),
    "left_shoulder": (169.1, 96.9),
    "left_wrist": (165.6, 145.2),
    "right_wrist": (124.0, 156.1),
    "right_hip": (141.7, 150.5),
    "left_ankle": (161.0, 223.3),
    "right_ankle": (134.3, 222.2),
}


@pytest.fixture(scope="module")
def installed():
    """Its networks, in the cache of whoever runs the tests."""
    try:
        blazepose.check_installed()
        blazepose.fetch()
    except DataError as error:
        pytest.skip(f"needs requirements-pose.txt, and a network: {error}")


def test_anchors_of_the_detector():
    """28 x 28 and 14 x 14 cells with two each, 7 x 7 with six, row by row."""
    anchors = blazepose._anchors()
    assert anchors.shape == (2254, 2)
    np.testing.assert_allclose(anchors[:4] * 224, [[4, 4], [4, 4], [12, 4], [12, 4]])
    np.testing.assert_allclose(anchors[2 * 28 * 28] * 224, [8, 8])
    np.testing.assert_allclose(anchors[-1] * 224, [208, 208])


def test_detections_of_one_person_are_averaged():
    raw, scores = np.zeros((2254, 12), np.float32), np.full(2254, -10.0, np.float32)
    first = 2 * (14 * 28 + 14)  # in the middle
    for anchor, (shift, score) in {first: (0.0, 2.0), first + 1: (8.0, 1.0), 0: (0.0, 3.0)}.items():
        raw[anchor, 2:4] = 60.0  # width and height
        raw[anchor, [0, 4, 6, 8, 10]] = shift
        scores[anchor] = score
    boxes, points, certain = blazepose._decoded(raw, scores)
    np.testing.assert_allclose(boxes[1] * 224, [[86, 86], [146, 146]], rtol=1e-6)
    people = blazepose._merged(boxes, points, certain)
    assert len(people) == 2
    np.testing.assert_allclose(people[0][0] * 224, [4, 4], rtol=1e-6)  # the most certain one is the first
    weights = 1 / (1 + np.exp(-np.array([2.0, 1.0])))
    np.testing.assert_allclose(people[1][0] * 224, [116 + 8 * weights[1] / weights.sum(), 116], rtol=1e-6)


def test_joints_move_to_the_heat():
    heat = np.full((64, 64, 2), -100.0, np.float32)
    heat[20, 31:33, 0] = 5.0
    places = np.array([[0.47, 0.33], [0.5, 0.5]])
    refined = blazepose._refined(places, heat)
    np.testing.assert_allclose(refined, [[31.5 / 64, 20 / 64], [0.5, 0.5]], rtol=1e-6)


def test_a_damaged_network_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path))
    folder = tmp_path / "weights" / "blazepose"
    folder.mkdir(parents=True)
    for member in blazepose._FILES:
        (folder / member.rpartition("/")[2]).write_bytes(b"no network")
    with refused(DataError, "pose_detection.tflite", "SHA-256"):
        blazepose.fetch()


def test_joints_have_names_and_sides():
    assert len(BlazePose.joints) == len(set(BlazePose.joints)) == 33
    order = mirror_order(BlazePose.joints)
    assert sorted(order) == list(range(33)) and [k for k, n in enumerate(order) if k == n] == [0]
    assert all(0 <= joint < 33 for bone in BlazePose.bones for joint in bone)


@pytest.mark.parametrize(("name", "wrong"), [("detector", (0.0, 1.0)), ("landmarks", (-1.0, 1.0))])
def test_a_wrong_range_of_values_is_noticed(installed, monkeypatch, name, wrong):
    blazepose._Networks()
    constant = {"detector": "_DETECTOR_RANGE", "landmarks": "_LANDMARK_RANGE"}[name]
    monkeypatch.setattr(blazepose, constant, wrong)
    with refused(DataError, name):
        blazepose._Networks()


def test_nobody_in_an_empty_frame(installed):
    joints, people = BlazePose()(np.full((120, 160, 3), 90, np.uint8))
    assert joints is None and people == 0


@pytest.fixture(scope="module")
def squat(test_data):
    """A frame of a person who stands upright."""
    path = test_data / "UCF-101" / "BodyWeightSquats" / "v_BodyWeightSquats_g08_c01.avi"
    return read_frames(Stream(str(path)), RGB, [0])[0]


def test_a_person_in_a_real_clip(installed, squat):
    """Against MediaPipe's own solution, version 0.10.21, in mode `static_image_mode`, complexity 1."""
    joints, people = BlazePose()(squat)
    assert people == 1
    height, width, _ = squat.shape
    found = {name: joints[BlazePose.joints.index(name), :2] * (width, height) for name in RECORDED}
    for name, place in RECORDED.items():
        assert np.linalg.norm(found[name] - place) < 2, (name, found[name], place)


def test_a_mirror_image_has_mirrored_joints(installed, squat):
    joints, _ = BlazePose()(squat)
    mirrored, _ = BlazePose()(np.ascontiguousarray(squat[:, ::-1]))
    back = mirrored[list(mirror_order(BlazePose.joints))]
    back[:, 0] = 1 - back[:, 0]
    body = [k for k, name in enumerate(BlazePose.joints) if name.endswith(("shoulder", "hip", "knee", "ankle"))]
    assert np.linalg.norm((back - joints)[body, :2], axis=-1).mean() < 0.02
