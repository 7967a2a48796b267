import dataclasses
import itertools
import json
import os

import numpy as np
import pytest

from tests.data.conftest import FLOW, POSE
from tests.data.test_pipeline import assert_same, evaluate, train
from tests.refusals import refused, unnamed
from vidjax.config import data_card
from vidjax.data import RGB, ClipSpec, Input, MemoryCache, Negate, Permute, Source, Stream, Video, ViewSpec, indexing
from vidjax.data.cache.disk import DiskCache
from vidjax.data.packed.packing import pack
from vidjax.data.sources import packed
from vidjax.data.sources.partition import check_source
from vidjax.data.streams import probe, read_frames
from vidjax.errors import ConfigError, DataError, LeakError, VideoError

CLIP = ClipSpec(frames=4, stride=2, short_side=16, crop=14, crop_position="random")
RGB_2 = Input("rgb_2", (3,), "uint8", reader="video", color=True)


def in_memory(inputs, **arrays):
    """A video of arrays."""
    return Video("v", 0, "v", {input.stream_name: Stream(input.name, frames=arrays[input.name]) for input in inputs})


# ------------------------------------------------------------------------------------------------- several streams


def frame_and_video(batch, numbers):
    """What each input shows: number of the frame [B, T], and of the video [B]."""
    rgb_frame, rgb_video = numbers(batch.inputs["rgb"])
    flow, pose = batch.inputs["flow"].astype(int), np.rint(batch.inputs["pose"] * 64).astype(int)
    return {
        "rgb": (rgb_frame, rgb_video[:, 0]),
        "flow": ((flow[:, :, 5, 5, 0] / 3).round().astype(int), flow[:, 0, 5, 5, 1] // 10),
        "pose": (pose[:, :, 0, 0], pose[:, 0, 0, 1]),
    }


def test_frames_of_one_number_belong_together(walks, numbers):
    clip = ClipSpec(frames=4, stride=2, short_side=16, crop=16, crop_position="random")  # the size of flow, not scaled
    inputs = (dataclasses.replace(POSE, space=None), RGB, FLOW)
    videos = [*walks.train, *walks.validation, *walks.test]
    batches = (
        train(videos, 6, clip=clip, inputs=inputs) + evaluate(videos, ViewSpec(clips=3), clip=clip, inputs=inputs)[0]
    )
    for batch in batches:
        assert list(batch.inputs) == ["pose", "pose_mask", "rgb", "flow"]
        found = frame_and_video(batch, numbers)
        where = batch.mask
        if where.all():  # the last batch of an evaluation ends with padding, where all is 0
            for frame, video in found.values():
                np.testing.assert_array_equal(frame, found["rgb"][0])
                np.testing.assert_array_equal(video, found["rgb"][1])
    seen = np.concatenate([frame_and_video(batch, numbers)["rgb"][0] for batch in batches[:6]])
    assert len(np.unique(seen[:, 0])) > 5, "clips begin anywhere"


def test_a_video_is_as_long_as_its_shortest_stream(walks, numbers):
    last = ClipSpec(frames=2, position="last", short_side=16, crop=16)
    for inputs, frames in (((RGB,), [12, 13]), ((RGB, FLOW), [11, 12]), ((POSE, RGB), [12, 13])):
        (batch,) = train(walks.train[:1], 1, batch_size=1, clip=last, inputs=inputs)
        assert numbers(batch.inputs["rgb"])[0][0].tolist() == frames


def test_the_frame_rate_is_that_of_the_first_stream_that_states_one(walks, numbers):
    clip = ClipSpec(frames=3, fps=5.0, position="first", short_side=16, crop=16)
    (batch,) = train(walks.train[:1], 1, batch_size=1, clip=clip, inputs=(FLOW, POSE, RGB))
    assert numbers(batch.inputs["rgb"])[0][0].tolist() == [0, 5, 10]
    with refused(DataError, "v0.avi", "stride", "fps"):
        train(walks.train[:1], 1, batch_size=1, clip=clip, inputs=(FLOW, POSE))


@pytest.mark.parametrize("name", ["memory", "small memory", "disk", "packed", "threads", "workers", "processes"])
def test_batches_are_the_same_wherever_they_come_from(walks, tmp_path, name):
    source, inputs, options = walks, walks.inputs, {}
    clip = dataclasses.replace(CLIP, short_side_max=20)
    views = ViewSpec(clips=2, crops="three", flip=True)
    if name == "packed":
        pack(walks, tmp_path / "packed", shard_bytes=200_000)
        source = packed.load(root=str(tmp_path / "packed"))
        inputs = source.inputs
        options = {"cache": DiskCache(tmp_path / "cache", 10**8)}
    elif name == "disk":
        options = {"cache": DiskCache(tmp_path, 10**8)}
    elif name == "memory":
        options = {"cache": MemoryCache(10**8)}
    elif name == "small memory":
        options = {"cache": MemoryCache(50_000)}
    elif name == "threads":
        options = {"threads": 0}
    elif name == "workers":
        options = {"workers": 2, "threads": 1, "cache": MemoryCache(10**8)}
    if name == "processes":
        whole = train(walks.train, 3, clip=clip, inputs=inputs)
        shares = [train(walks.train, 3, clip=clip, inputs=inputs, process_index=p, process_count=2) for p in range(2)]
        for step, batch in enumerate(whole):
            for p, share in enumerate(shares):
                for key, values in batch.inputs.items():
                    np.testing.assert_array_equal(share[step].inputs[key], values[p::2])
        return
    expected = train(walks.train, 4, clip=clip, inputs=walks.inputs)
    for _ in range(1 if name == "workers" else 2):
        assert_same(train(source.train, 4, clip=clip, inputs=inputs, **options), expected)
    wanted, failed = evaluate(walks.test, views, clip=clip, inputs=walks.inputs)
    ours, ours_failed = evaluate(source.test, views, clip=clip, inputs=inputs, **options)
    assert_same(ours, wanted)
    assert failed == ours_failed == {} and wanted[0].mirrored.tolist() == [False, True] * 4


def test_more_inputs_change_nothing_of_the_first(walks):
    alone = train(walks.train, 4, clip=dataclasses.replace(CLIP, short_side_max=20), inputs=(RGB,))
    same_length = dataclasses.replace(POSE, name="body", stream="pose")
    beside = train(walks.train, 4, clip=dataclasses.replace(CLIP, short_side_max=20), inputs=(RGB, same_length))
    for one, other in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(one.inputs["rgb"], other.inputs["rgb"])
        assert list(other.inputs) == ["rgb", "body", "body_mask"]


def test_what_is_missing_is_zero_and_masked(walks):
    clip = ClipSpec(frames=4, position="first", crop=16)
    (batch,) = train(walks.train[:1], 1, batch_size=1, clip=clip, inputs=(POSE,))
    mask, pose = batch.inputs["pose_mask"], batch.inputs["pose"]
    assert mask.dtype == bool and mask.shape == (1, 4, 3) and pose.dtype == np.float32
    assert np.argwhere(~mask).tolist() == [[0, 3, 1]] and (pose[~mask] == 0).all() and np.isfinite(pose).all()
    np.testing.assert_allclose(pose[0, :, 0, 0], np.arange(4) / 64)  # without an image points stay as they are


def test_one_missing_channel_hides_the_point():
    heart, speed = Input("heart", (1,), "float32", space=None), Input("speed", (2,), "float64", space=None)
    values = np.array([[1], [np.nan], [3]], np.float32), np.array([[1, 2], [3, np.inf], [5, 6]])
    video = in_memory((heart, speed), heart=values[0], speed=values[1])
    (batch,) = train([video], 1, batch_size=1, clip=ClipSpec(frames=3, crop=16), inputs=(heart, speed))
    assert batch.inputs["heart"].tolist() == [[[1], [0], [3]]] and batch.inputs["heart_mask"].tolist() == [
        [True, False, True]
    ]
    assert batch.inputs["speed"].tolist() == [[[1, 2], [0, 0], [5, 6]]]
    assert batch.inputs["speed_mask"].tolist() == [[True, False, True]]


def test_padding_has_every_input(walks, tmp_path):
    bad = dataclasses.replace(walks.test[0].streams["flow"], path=str(tmp_path / "gone.npy"))
    video = dataclasses.replace(walks.test[0], id="bad", streams={**walks.test[0].streams, "flow": bad})
    batches, failed = evaluate([video], ViewSpec(), clip=CLIP, inputs=walks.inputs, batch_size=2)
    (batch,) = batches
    assert failed == {"bad": f"flow {tmp_path / 'gone.npy'}: No such file or directory"} and not batch.mask.any()
    shapes = {name: (values.shape, values.dtype.name) for name, values in batch.inputs.items()}
    assert shapes == {
        "rgb": ((2, 4, 14, 14, 3), "uint8"),
        "flow": ((2, 4, 14, 14, 2), "uint8"),
        "pose": ((2, 4, 3, 3), "float32"),
        "pose_mask": ((2, 4, 3), "bool"),
    }
    assert not any(values.any() for values in batch.inputs.values())
    with_sound = train([walks.train[0], video], 2, clip=CLIP, inputs=walks.inputs)
    for values in with_sound[0].inputs.values():
        assert len(values) == 4  # the sound one stands in its place
    sound, _ = evaluate([video], ViewSpec(), clip=CLIP, inputs=(RGB, POSE), batch_size=1)
    assert sound[0].mask.all(), "what is not read does not matter"


# --------------------------------------------------------------------------------------------- so many for each frame


@pytest.mark.parametrize(
    ("position", "wanted"),
    [("first", [0, 1, 2, 3] * 2), ("middle", [2, 3, 4, 5, 4, 5, 6, 7]), ("last", [7, 8, 9, 10, 8, 9, 10, 11])],
)
def test_a_stack_lies_around_its_frame(position, wanted):
    """Of frames 0 and 2, 4 and 6, 9 and 11; half of it lies before the frame: flow i leads from frame i to the next."""
    stacked = dataclasses.replace(FLOW, per_frame=4)
    flow = np.broadcast_to(np.arange(12, dtype=np.uint8)[:, None, None, None], (12, 16, 16, 2))
    clip = ClipSpec(frames=2, stride=2, position=position, crop=16)
    (batch,) = train([in_memory((stacked,), flow=flow)], 1, batch_size=1, clip=clip, inputs=(stacked,))
    assert batch.inputs["flow"].shape == (1, *stacked.example_shape(2, 16)) == (1, 8, 16, 16, 2)
    assert batch.inputs["flow"][0, :, 0, 0, 0].tolist() == wanted


def test_a_stack_of_a_video_that_is_too_short_shows_its_last_frame_again():
    stacked = dataclasses.replace(FLOW, per_frame=10)
    flow = np.broadcast_to(np.arange(3, dtype=np.uint8)[:, None, None, None], (3, 16, 16, 2))
    views, clip = ViewSpec(clips=2), ClipSpec(frames=1, crop=16)
    ((batch,), _) = evaluate([in_memory((stacked,), flow=flow)], views, clip=clip, batch_size=2, inputs=(stacked,))
    assert batch.inputs["flow"][:, :, 0, 0, 0].tolist() == [[0, 1, 2, *[2] * 7]] * 2


# ------------------------------------------------------------------------------------------------ points and squares

SCENE_POSE = Input("pose", (1, 2), "float32", space="points")
SIZES = [(40, 72), (72, 40), (50, 50)]


def scene(height, width, frames=12, inputs=(RGB, SCENE_POSE)):
    """A bright dot that wanders through the dark, and the point where it is."""
    rng = np.random.default_rng(height)
    pictures = np.zeros((frames, height, width, 3), np.uint8)
    points = np.empty((frames, 1, 2), np.float32)
    for number in range(frames):
        row, column = rng.integers(3, height - 3), rng.integers(3, width - 3)
        pictures[number, row - 1 : row + 2, column - 1 : column + 2] = 250
        points[number, 0] = (column + 0.5) / width, (row + 0.5) / height
    return in_memory(inputs, rgb=pictures, pose=points)


def assert_the_dot_is_where_the_point_is(pictures, points, side, at_least):
    """Of pictures [N, side, side] and points [N, 2], wherever the dot is whole."""
    seen = 0
    for picture, (x, y) in zip(pictures, points * side, strict=True):
        if not (4 < x < side - 4 and 4 < y < side - 4):
            continue
        weights = np.where(picture > 30, picture.astype(float), 0)
        rows, columns = np.indices(picture.shape) + 0.5
        assert abs((weights * columns).sum() / weights.sum() - x) < 0.35
        assert abs((weights * rows).sum() / weights.sum() - y) < 0.35
        seen += 1
    assert seen >= at_least


CLIPS = [
    ClipSpec(frames=4, short_side=32, crop=28, crop_position="random"),
    ClipSpec(frames=4, short_side=28, short_side_max=40, crop=28, crop_position="random"),
    ClipSpec(frames=4, crop=28, crop_position="random"),
    ClipSpec(frames=4, short_side=32, crop=28),
    ClipSpec(frames=4, resize="squash", size=34, crop=28, crop_position="random"),
    ClipSpec(frames=4, resize="letterbox", size=37, crop=34, crop_position="random"),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("clip", CLIPS)
def test_points_follow_the_square_of_a_training_clip(clip, size):
    inputs = (RGB, SCENE_POSE)
    batches = train([scene(*size)], 3, batch_size=8, clip=clip, inputs=inputs)
    pictures = np.concatenate([batch.inputs["rgb"] for batch in batches]).reshape(-1, clip.crop, clip.crop, 3)
    points = np.concatenate([batch.inputs["pose"] for batch in batches]).reshape(-1, 2)
    assert_the_dot_is_where_the_point_is(pictures[..., 0], points, clip.crop, at_least=8)
    assert all(batch.inputs["pose_mask"].all() for batch in batches), "outside of the square, too"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("clip", "views"),
    [
        (CLIPS[0], ViewSpec(clips=2, crops="three")),
        (CLIPS[0], ViewSpec(clips=2, crops="ten", side=24)),
        (CLIPS[3], ViewSpec(clips=2, crops="ten", side=24)),
        (CLIPS[4], ViewSpec(clips=2, crops="three", flip=True)),
        (CLIPS[5], ViewSpec(clips=2, crops="three")),
    ],
)
def test_points_follow_the_square_of_a_view(clip, views, size):
    side = views.side_of(clip)
    batches, _ = evaluate([scene(*size)], views, clip=clip, inputs=(SCENE_POSE, RGB))
    pictures = np.concatenate([batch.inputs["rgb"][batch.mask] for batch in batches])
    points = np.concatenate([batch.inputs["pose"][batch.mask] for batch in batches])
    assert len(pictures) == views.count
    pictures, points = pictures.reshape(-1, side, side, 3), points.reshape(-1, 2)
    assert_the_dot_is_where_the_point_is(pictures[..., 0], points, side, at_least=4)


@pytest.mark.parametrize("clip", CLIPS)
def test_a_pair_shows_the_same_place(clip):
    """Two RGB files of one example, one of twice the size: the square is at the same share of what it may move."""
    y, x = np.mgrid[:40, :72]
    small = np.stack([3 * x, 5 * y, 0 * x], axis=-1).astype(np.uint8)[None].repeat(4, axis=0)
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    same = Video("v", 0, "v", {"rgb": Stream("a", frames=small), "rgb_2": Stream("b", frames=small)})
    for batch in train([same], 2, batch_size=8, clip=clip, inputs=(RGB, RGB_2)):
        np.testing.assert_array_equal(batch.inputs["rgb"], batch.inputs["rgb_2"])
    other = Video("v", 0, "v", {"rgb": Stream("a", frames=small), "rgb_2": Stream("b", frames=large)})
    corners = set()
    for batch in train([other], 3, batch_size=8, clip=clip, inputs=(RGB, RGB_2)):
        if clip.short_side is None and clip.resize == "short_side":  # of the large one a part as large is shown
            free = np.array([40 - 28, 72 - 28]), np.array([80 - 28, 144 - 28])
            for one, two in zip(batch.inputs["rgb"][:, 0, 0, 0], batch.inputs["rgb_2"][:, 0, 0, 0], strict=True):
                place = np.array([one[1] / 5, one[0] / 3])
                np.testing.assert_allclose(np.array([two[1] / 5, two[0] / 3]), (place / free[0] * free[1]) // 2, atol=1)
                corners.add(tuple(place))
        else:
            difference = batch.inputs["rgb"].astype(int) - batch.inputs["rgb_2"]
            inner = difference[:, :, 4:-4, 4:-4]
            assert np.abs(inner).max() <= 8, "3 or 5 gray levels are a pixel"
            corners.add(tuple(batch.inputs["rgb"][0, 0, 5, 5]))
    assert len(corners) > (1 if clip.crop_position == "random" else 0)


def test_displacements_grow_with_the_frame():
    flow = np.full((2, 20, 40, 2), 128, np.uint8)
    flow[..., 0] += 10
    flow[..., 1] -= 20
    exact = dataclasses.replace(FLOW, name="exact", dtype="float32", mean=(0.0,))
    exact_flow = np.full((2, 20, 40, 2), (1.5, -2.0), np.float32)
    video = in_memory((FLOW, exact), flow=flow, exact=exact_flow)
    squash = ClipSpec(frames=1, resize="squash", size=30, crop=30)
    (batch,) = train([video], 1, batch_size=1, clip=squash, inputs=(FLOW, exact))
    assert np.unique(batch.inputs["flow"].reshape(-1, 2), axis=0).tolist() == [[136, 98]]  # 10 * 3/4, -20 * 3/2
    np.testing.assert_allclose(batch.inputs["exact"][0, 0, 3, 3], [1.5 * 30 / 40, -2.0 * 30 / 20])
    assert batch.inputs["exact"].dtype == np.float32
    plain = dataclasses.replace(FLOW, vectors=False)
    (batch,) = train([video], 1, batch_size=1, clip=squash, inputs=(plain,))
    assert np.unique(batch.inputs["flow"].reshape(-1, 2), axis=0).tolist() == [[138, 108]]
    large = in_memory((FLOW,), flow=np.full((1, 20, 40, 2), (250, 3), np.uint8))
    (batch,) = train([large], 1, batch_size=1, clip=ClipSpec(frames=1, short_side=60, crop=60), inputs=(FLOW,))
    assert np.unique(batch.inputs["flow"].reshape(-1, 2), axis=0).tolist() == [[255, 0]], "not wrapped around"


def test_letterbox_adds_what_stands_for_nothing():
    depth = Input("depth", (1,), "float32", mean=(2.5,))
    flow = dataclasses.replace(FLOW, mean=(127.6, 100.0))
    pictures = {
        "rgb": np.zeros((1, 20, 40, 3), np.uint8),
        "flow": np.zeros((1, 20, 40, 2), np.uint8),
        "depth": np.zeros((1, 20, 40, 1), np.float32),
    }
    inputs = (RGB, flow, depth)
    clip = ClipSpec(frames=1, resize="letterbox", size=40, crop=40, padding=(117,))
    (batch,) = train([in_memory(inputs, **pictures)], 1, batch_size=1, clip=clip, inputs=inputs)
    assert batch.inputs["rgb"][0, 0, 0, 0].tolist() == [117] * 3
    assert batch.inputs["flow"][0, 0, 0, 0].tolist() == [128, 100]
    assert batch.inputs["depth"][0, 0, 0, 0].tolist() == [2.5]
    assert not any(batch.inputs[name][0, 0, 20].any() for name in pictures)


# -------------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "fields, tokens",
    [
        ({"name": "train"}, ("'train'",)),
        ({"name": "flow_mask"}, ("'flow_mask'",)),
        ({"space": "imagee"}, ("'flow'", "space='imagee'", "image, points, None")),
        ({"reader": "npy"}, ("'flow'", "reader='npy'", "video, array")),
        ({"mirror": "forbiden"}, ("mirror='forbiden'", "nothing, forbidden")),
        ({"shape": ()}, ("shape=()",)),
        ({"per_frame": 0}, ("per_frame=0", "1")),
        ({"dtype": "float64"}, ("uint8", "float32", "float64")),
        ({"space": "points", "shape": (4, 2), "vectors": False, "mirror": "nothing"}, ("points", "uint8")),
        ({"mirror": Negate((2,))}, ("(2,)", "2", "0")),
        ({"mirror": Permute((1, 0))}, ("mirror", "points", "image")),
        ({"space": None, "shape": (3, 2), "vectors": False, "mirror": Permute((1, 2, 0))}, ("mirror", "3")),
        ({"shape": (1,), "mean": (128.0,), "std": None, "mirror": "nothing"}, ("vectors", "mean")),
        ({"mean": None}, ("vectors", "mean")),
        ({"mean": (1.0, 2.0, 3.0)}, ("3", "mean", "2")),
        ({"color": True}, ("color",)),
        ({"reader": "video"}, ("image, uint8, (3,)", "image, uint8, (2,)")),
        ({"reader": "video", "shape": (3,), "mean": (128.0,), "std": None}, ("vectors",)),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(fields, tokens):
    with refused(ConfigError, "input", *tokens):
        dataclasses.replace(FLOW, **fields)


def test_inputs_want_names_and_streams(walks):
    with refused(ConfigError, "inputs", "rgb, rgb"):
        train(walks.train, 1, inputs=(RGB, RGB))
    lost = dataclasses.replace(FLOW, stream="flow_x")

    with refused(DataError, "v0", "'flow_x'", "'flow'", "rgb, flow, pose"):
        train(walks.train, 1, inputs=(RGB, lost))
    with refused(DataError, "'mine'", "'flow'", "stream='flow_x'"):
        check_source("mine", dataclasses.replace(walks, inputs=(RGB, lost)))
    other = dataclasses.replace(FLOW, name="flow_x")
    with refused(DataError, "v0", "'flow_x'", "rgb, flow, pose"):
        check_source("mine", dataclasses.replace(walks, inputs=(RGB, other)))
    check_source("mine", walks)


def test_every_input_must_hold_the_square(walks):
    with refused(ConfigError, "16x24", "20", "short_side"):
        train(walks.train, 1, clip=ClipSpec(frames=2, crop=20), inputs=(RGB, FLOW))


# ------------------------------------------------------------------------------------------------- sources and runs


def test_the_index_knows_arrays_by_their_header(walks, tmp_path):
    np.save(tmp_path / "floats.npy", np.zeros((5, 16, 24, 2), np.float32))
    streams = {**walks.train[1].streams, "flow": Stream(str(tmp_path / "floats.npy"))}
    train_part = (walks.train[0], dataclasses.replace(walks.train[1], streams=streams))
    found = indexing.with_file_info(dataclasses.replace(walks, train=train_part)).train
    infos = [stream.info for stream in found[0].streams.values()]
    assert [(info.frames, info.height, info.width) for info in infos] == [(14, 32, 48), (13, 16, 24), (14, 0, 0)]
    assert found[0].refused is None and all(info.signature[0] > 500 for info in infos)
    wanted = "holds float32 [5, 16, 24, 2]; the input 'flow' is uint8 [N, H, W, 2]"
    assert (
        found[1].refused == f"flow {tmp_path / 'floats.npy'}: {wanted}" and found[1].streams["flow"].refused == wanted
    )
    (batch,) = train(found, 1, batch_size=4, clip=CLIP, inputs=walks.inputs)
    assert len(set(batch.label.tolist())) == 1, "the other one stands in its place"


def test_the_fingerprint_tells_streams_apart(walks):
    rgb = Source("walks", "1", walks.classes, walks.train, walks.validation, walks.test)
    pair = dataclasses.replace(rgb, inputs=(RGB, RGB_2))
    prints = [source.fingerprint() for source in (rgb, pair, walks, dataclasses.replace(rgb, name="other"))]
    assert len(set(prints)) == 3 and prints[0] == prints[3]
    one_file = tuple(Video.of(v.id, v.path, v.label, v.group) for v in walks.train)
    assert dataclasses.replace(rgb, train=one_file).fingerprint() == prints[0]


def test_content_is_that_of_all_streams(walks, tmp_path):
    before = data_card._contents(walks)
    assert all(isinstance(number, int) for number in before["train"])
    pack(walks, tmp_path / "packed")
    packed_source = packed.load(root=str(tmp_path / "packed"))
    assert data_card._contents(packed_source) == before, "wherever they lie"
    assert packed_source.fingerprint() == walks.fingerprint()
    np.save(tmp_path / "longer.npy", np.zeros((40, 3, 3), np.float32))
    streams = {**walks.train[0].streams, "pose": Stream(str(tmp_path / "longer.npy"))}
    changed = dataclasses.replace(walks, train=(dataclasses.replace(walks.train[0], streams=streams), *walks.train[1:]))
    assert [a == b for a, b in zip(data_card._contents(changed)["train"], before["train"])] == [False, True, True, True]
    rgb_alone = dataclasses.replace(walks, inputs=(RGB,))
    assert data_card._contents(rgb_alone)["test"] == [os.path.getsize(walks.test[0].path)], (
        "what is not read is not asked"
    )
    gone = {**streams, "pose": Stream(str(tmp_path / "gone.npy"))}
    missing = dataclasses.replace(walks, train=(dataclasses.replace(walks.train[0], streams=gone),))
    assert data_card._contents(missing)["train"] == [None]


def test_a_file_of_any_stream_leaks(walks):
    streams = {**walks.test[0].streams, "pose": walks.train[0].streams["pose"]}
    leaking = dataclasses.replace(walks, test=(dataclasses.replace(walks.test[0], streams=streams),))
    with refused(LeakError, "v0", "train", "v5", "test"):
        check_source("mine", leaking)


@pytest.mark.parametrize("input", [RGB, FLOW, POSE, dataclasses.replace(POSE, mean=(0.5, 0.5, 0.0), per_frame=3)])
def test_inputs_pass_through_json(input):
    assert Input.from_json(json.loads(json.dumps(input.to_json()))) == input


def test_color_is_stored_under_its_earlier_name():
    """Runs and packed data sets that are on disks are read, and compared with, by that name."""
    stored = RGB_2.to_json()
    assert stored["colour"] is True and "color" not in stored
    assert Input.from_json(stored).color
    names = [field.name for field in dataclasses.fields(Input) if field.name != "seen"]  # which they do not have
    assert list(stored) == ["colour" if name == "color" else name for name in names]


def test_mirrors_pass_through_json():
    assert Input.from_json(FLOW.to_json()).mirror == Negate((0,))
    assert Input.from_json(json.loads(json.dumps(POSE.to_json()))).mirror == Permute((0, 2, 1))


def test_reading_by_stream(walks):
    video = walks.train[2]
    for input, shape in zip(walks.inputs, [(2, 32, 48, 3), (2, 16, 24, 2), (2, 3, 3)]):
        stream = video.streams[input.stream_name]
        assert read_frames(stream, input, [4, 0]).shape == shape
        assert probe(stream, input).frames == (19 if input == FLOW else 20)
    assert list(itertools.islice(video.streams, 2)) == ["rgb", "flow"] and video.path.endswith("v2.avi")


def test_numbers_that_would_ruin_a_training_in_silence_are_refused(tmp_path):
    depth, pose = Input("depth", (1,), "float32"), Input("pose", (2, 2), "float32", space="points")
    holes = np.zeros((4, 16, 16, 1), np.float32)
    holes[2, 3, 3] = np.inf
    np.save(tmp_path / "holes.npy", holes)
    stream = Stream(str(tmp_path / "holes.npy"))
    assert read_frames(stream, depth, [0, 1]).shape == (2, 16, 16, 1)
    with refused(VideoError, "holes.npy"):
        read_frames(stream, depth, [1, 2])
    shares = np.full((4, 2, 2), 1.3, np.float32)
    shares[0] = np.nan
    assert read_frames(Stream("shares", frames=shares), pose, [0, 1]).shape == (2, 2, 2)
    with refused(VideoError, "pixels", "83.2", "x", "y"):
        read_frames(Stream("pixels", frames=shares * 64), pose, [0, 1])


def test_streams_that_hardly_belong_together_are_noted():
    def video(name, frames, width):
        pictures = {"rgb": np.zeros((20, 16, 24, 3), np.uint8), "flow": np.zeros((frames, 8, width, 2), np.uint8)}
        return Video(name, 0, name, {key: Stream(f"{name}.{key}", frames=value) for key, value in pictures.items()})

    def notes(*videos):
        known = tuple(
            dataclasses.replace(
                each,
                streams={
                    key: dataclasses.replace(stream, info=probe(stream, {"rgb": RGB, "flow": FLOW}[key]))
                    for key, stream in each.streams.items()
                },
            )
            for each in videos
        )
        return indexing.with_file_info(Source("s", "1", ("a", "b"), known, (), (), inputs=(RGB, FLOW))).notes

    assert notes(video("v0", 19, 12)) == ()
    short, square = notes(video("v0", 19, 12), video("v1", 12, 12), video("v2", 19, 8))
    assert not unnamed(short, 1, "v1", "rgb", 20, "flow", 12)
    assert not unnamed(square, "v2", "rgb 16x24", "flow 8x8")
