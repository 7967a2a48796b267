import gzip
import pickle
import struct

import numpy as np
import pytest

from tests.refusals import refused, unnamed
from vidjax.data import ClipSpec, MemoryCache, ViewSpec, evaluation_batches, training_batches
from vidjax.data.sources import SOURCES, mnist
from vidjax.errors import ConfigError, DataError, MissingFileError


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write(folder, part, count, compress=False):
    """Digits whose pixels all equal their number, with labels 0, 1, ... 9, 0, ..."""
    numbers = np.arange(count, dtype=np.uint8)
    files = {
        f"{part}-images-idx3-ubyte": np.broadcast_to(numbers[:, None, None], (count, 5, 6)),
        f"{part}-labels-idx1-ubyte": numbers % 10,
    }
    for name, array in files.items():
        if compress:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return folder


def ids(source):
    return {part: [video.id for video in getattr(source, part)] for part in ("train", "validation", "test")}


@pytest.mark.parametrize("compress", [False, True])
def test_official_parts(tmp_path, compress):
    write(write(tmp_path, "train", 200, compress), "t10k", 30, not compress)
    source = mnist.load(root=str(tmp_path), validation=0.25)
    assert SOURCES["mnist"] is mnist.load
    assert (source.name, source.split) == ("mnist", "official, validation by hash, seed 0")
    assert (source.mirror, source.classes, source.notes) == ("forbidden", tuple("0123456789"), ())
    assert ids(source)["test"] == [f"t10k/{n:05d}" for n in range(30)]
    assert len(source.train) == 150 and len(source.validation) == 50
    assert np.bincount([video.label for video in source.validation]).tolist() == [5] * 10
    assert sorted(ids(source)["train"] + ids(source)["validation"]) == [f"train/{n:05d}" for n in range(200)]
    for video in source.train:
        number = int(video.id[-5:])
        frames = video.streams["rgb"].frames
        assert video.label == number % 10 and frames.shape == (1, 5, 6, 1) and frames.dtype == np.uint8
        assert (frames == number).all() and video.path.endswith(f"#{number}")


def test_the_cut_depends_on_the_seed_alone(tmp_path):
    write(tmp_path, "t10k", 250)
    source = mnist.load(root=str(tmp_path), seed=1)
    assert (len(source.train), len(source.validation), len(source.test)) == (210, 20, 20)
    assert source.split == "hash of the test digits, seed 1" and not unnamed(source.notes[0], 250)
    assert mnist.load(root=str(tmp_path), seed=1) == source
    assert ids(mnist.load(root=str(tmp_path))) != ids(source)


def test_the_real_test_digits_are_cut_8_1_1(test_data):
    source = mnist.load(root=str(test_data / "mnist"))
    assert (len(source.train), len(source.validation), len(source.test)) == (8000, 1000, 1000)
    counts = np.bincount([video.label for video in source.train + source.validation + source.test])
    assert counts.tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # the published ones
    assert np.bincount([video.label for video in source.test]).tolist() == [98, 114, 103, 101, 98, 89, 96, 103, 97, 101]
    first = next(v for v in source.train + source.validation + source.test if v.id == "t10k/00000")
    assert first.label == 7  # MNIST's first test digit is a seven
    assert first.streams["rgb"].frames.shape == (1, 28, 28, 1)
    assert abs(np.mean([v.streams["rgb"].frames.mean() for v in source.train]) / 255 - 0.1325) < 0.002


def test_scikit_learns_digits_stand_in():
    from sklearn.datasets import load_digits

    source = mnist.load()
    assert (source.name, source.split) == ("digits", "hash, seed 0") and "stand in" in source.notes[0]
    assert len(source.train) + len(source.validation) + len(source.test) == 1797
    assert {v.label for v in source.test} == {v.label for v in source.validation} == set(range(10))
    digits = load_digits()
    for video in source.test:
        number = int(video.id[-5:])
        assert video.label == digits.target[number]
        np.testing.assert_allclose(video.streams["rgb"].frames[0, :, :, 0], digits.images[number] * 255 / 16, atol=0.5)
    assert max(video.streams["rgb"].frames.max() for video in source.train) == 255


def test_digits_become_batches(tmp_path):
    write(tmp_path, "t10k", 250)
    source = mnist.load(root=str(tmp_path))
    clip = ClipSpec(frames=3, crop=4)
    with training_batches(source.train, clip, batch_size=8, seed=0, cache=MemoryCache(10**6), threads=0) as batches:
        batch = next(batches)
    assert batch.inputs["rgb"].shape == (8, 3, 4, 4, 3) and batch.inputs["rgb"].dtype == np.uint8
    numbers = batch.inputs["rgb"][:, 0, 0, 0, 0]
    assert (batch.inputs["rgb"] == numbers[:, None, None, None, None]).all()  # repeated over time and channels
    assert (numbers % 10 == batch.label).all() and len(set(numbers.tolist())) == 8
    with evaluation_batches(
        source.test, ClipSpec(frames=1, short_side=10, crop=10), ViewSpec(), batch_size=20
    ) as batches:
        batch = next(batches)
    assert batch.mask.all() and batch.inputs["rgb"].shape == (20, 1, 10, 10, 3)
    expected = np.array([int(video.id[-5:]) for video in source.test])
    assert (batch.inputs["rgb"][:, 0] == expected[:, None, None, None]).all()


def test_digits_reach_other_processes(tmp_path):
    source = mnist.load(root=str(write(tmp_path, "t10k", 100)))
    video = pickle.loads(pickle.dumps(source.train[3]))
    assert video == source.train[3] and (video.streams["rgb"].frames == source.train[3].streams["rgb"].frames).all()
    assert len(pickle.dumps(source.train[3])) < 1000  # itself, and not the array that it is cut from


def damage(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))


IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "change", "tokens"),
    [
        (IMAGES, lambda data: data[:-1], (IMAGES, "100 x 5 x 6", "3000", "2999")),
        (IMAGES, lambda data: data + b"x", (IMAGES, "3000", "3001")),
        (IMAGES, lambda data: data[:10], (IMAGES, "3", "00 00 08 03")),
        (IMAGES, lambda data: b"", (IMAGES, "3", "00 00 08 03")),
        (IMAGES, lambda data: b"\x00\x00\x0d\x03" + data[4:], (IMAGES, "00 00 0d 03", "00 00 08 03")),
        (IMAGES, lambda data: idx(np.zeros((100, 0, 5), np.uint8)), (IMAGES, "(100, 0, 5)")),
        (LABELS, lambda data: data[:4] + b"\xff\xff\xff\xff" + data[8:], (LABELS, "4294967295", "100")),
        (LABELS, lambda data: idx(np.arange(99, dtype=np.uint8) % 10), (IMAGES, "100", LABELS, "99")),
        (LABELS, lambda data: data[:-3] + b"\x0a" + data[-2:], (LABELS, "97", "10", "9")),
        (LABELS, lambda data: idx(np.zeros(100, np.uint8)), ("1", "train")),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, change, tokens):
    damage(write(tmp_path, "t10k", 100), name, change)
    with refused(DataError, *tokens):
        mnist.load(root=str(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"no gzip",
        lambda data: data[:30] + b"\xff\xff\xff\xff" + data[34:],
    ],
)
def test_damaged_gzip_files_are_refused(tmp_path, change):
    damage(write(tmp_path, "t10k", 100, compress=True), f"{LABELS}.gz", change)
    with refused(DataError, f"{LABELS}.gz"):
        mnist.load(root=str(tmp_path))


def test_missing_files_and_options_out_of_range(tmp_path):
    with refused(MissingFileError, tmp_path, IMAGES):
        mnist.load(root=str(tmp_path))
    write(tmp_path, "t10k", 100)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"x")
    with refused(MissingFileError, tmp_path, "train-labels-idx1-ubyte"):
        mnist.load(root=str(tmp_path))
    with refused(DataError, f"root={tmp_path / 'nowhere'}"):
        mnist.load(root=str(tmp_path / "nowhere"))
    with refused(ConfigError, "validation", "test", "0.5"):
        mnist.load(validation=0.5, test=0.5)


def test_one_digit_against_all_others(tmp_path):
    write(tmp_path, "t10k", 200)
    source = mnist.load(root=str(tmp_path), positive_class=3)
    digits = mnist.load(root=str(tmp_path))
    assert source.classes == ("not 3", "3")
    for part in ("train", "validation", "test"):
        pairs = zip(getattr(source, part), getattr(digits, part), strict=True)
        assert all(one.id == other.id and one.label == (other.label == 3) for one, other in pairs)
