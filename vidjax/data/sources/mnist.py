"""MNIST: handwritten digits, as clips of one frame; without its files scikit-learn's digits stand in.

LeCun, Bottou, Bengio and Haffner 1998, "Gradient-Based Learning Applied to Document Recognition". Other sets in the
same files (Fashion-MNIST, Kuzushiji-MNIST) load likewise; their classes are called "0" to "9", too.
"""

import dataclasses
import gzip
import struct
import zlib
from pathlib import Path
from typing import Annotated

import numpy as np

from vidjax.data.records import Source, Video
from vidjax.data.sources.leaks import check_parts
from vidjax.data.sources.partition import check_fractions, split_by_hash
from vidjax.data.sources.shared_options import Validation
from vidjax.data.sources.user_paths import existing_folder
from vidjax.errors import DataError, MissingFileError
from vidjax.options.declaring import Option

_CLASSES = tuple("0123456789")
_UNSIGNED_BYTES = 0x08  # third byte of an idx file


def load(
    *,
    root: Annotated[str | None, Option("folder of the idx files; None: scikit-learn's digits")] = None,
    seed: Annotated[int, Option("of the split")] = 0,
    validation: Validation = 0.1,
    test: Annotated[float, Option("fraction for testing if there is no official test part", at_least=0, below=1)] = 0.1,
    positive_class: Annotated[
        int | None, Option("this digit is one class, all others are the other one", at_least=0, at_most=9)
    ] = None,
) -> Source:
    """Returns the digits of the idx files in `root`, whatever parts are there; without `root`, scikit-learn's.

    - train and t10k: the official 60,000 and 10,000 digits; validation is cut from the training digits.
    - t10k alone: its digits are cut into all three parts (8,000, 1,000 and 1,000).
    - no `root`: the 1,797 digits of 8 x 8 pixels of `sklearn.datasets.load_digits`, their 17 gray levels spread over
      0..255, cut likewise. The source is then called "digits".

    Cuts go by class, and within it by a hash of the seed and the digit's number. A digit is a clip of one frame (a
    longer clip repeats it), its gray value three times.

    Args:
      root: folder of train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
        t10k-labels-idx1-ubyte, each as it is or as .gz.
      seed: of the cuts.
      validation: fraction of each class for validation.
      test: fraction of each class for testing, if there is no official test part.
      positive_class: a digit: its class has label 1, e.g. "3", and all others have label 0, e.g. "not 3".

    Returns:
      The source; every digit is a group of its own; flips are forbidden.

    Raises:
      ConfigError: if a fraction is out of range.
      DataError: if a file is missing or damaged, or files do not fit each other.
    """
    check_fractions("mnist", validation, test)
    notes: tuple[str, ...] = ()
    if root is None:
        name, split = "digits", f"hash, seed {seed}"
        parts = split_by_hash(_embedded_digits(), {"test": test, "validation": validation}, seed)
        notes = ("no folder with MNIST's files: scikit-learn's 1,797 digits of 8 x 8 pixels stand in for them",)
    else:
        name, folder = "mnist", existing_folder("mnist", "root", root)
        tested = _read_digits(folder, "t10k")
        if _find(folder, "train-images-idx3-ubyte") or _find(folder, "train-labels-idx1-ubyte"):
            split = f"official, validation by hash, seed {seed}"
            parts = {**split_by_hash(_read_digits(folder, "train"), {"validation": validation}, seed), "test": tested}
        else:
            split = f"hash of the test digits, seed {seed}"
            parts = split_by_hash(tested, {"test": test, "validation": validation}, seed)
            notes = (f"{folder} has no training digits: its {len(tested)} test digits are cut into all three parts",)
    classes = _CLASSES
    if positive_class is not None:
        classes = (f"not {positive_class}", str(positive_class))
        parts = {
            part: [dataclasses.replace(video, label=int(video.label == positive_class)) for video in videos]
            for part, videos in parts.items()
        }
    check_parts(name, classes, parts)
    return Source(
        name=name,
        split=split,
        classes=classes,
        train=tuple(parts["train"]),
        validation=tuple(parts["validation"]),
        test=tuple(parts["test"]),
        mirror="forbidden",
        notes=notes,
    )


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Reads an idx file of unsigned bytes, gzipped where its name ends in .gz.

    The file: two zero bytes, the type 8, the number of dimensions, each size as a big-endian uint32, then the
    values, the last dimension fastest.

    Args:
      path: the file.
      dimensions: how many it must have.

    Returns:
      uint8, read-only, of the shape that the file states.

    Raises:
      DataError: if the file cannot be read, or is of another kind or length.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read, it may be damaged or cut short: {error}") from error
    start = 4 + 4 * dimensions
    expected = bytes([0, 0, _UNSIGNED_BYTES, dimensions])
    if len(content) < start or content[:4] != expected:
        raise DataError(
            f"{path} is not an idx file of {dimensions} dimension(s): it begins with"
            f" {content[:4].hex(' ') or 'nothing'}, not with {expected.hex(' ')} and the sizes"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    count = 1
    for size in shape:
        count *= size
    if len(content) - start != count:
        raise DataError(
            f"{path}: its header states {' x '.join(map(str, shape))} = {count} values; it holds {len(content) - start}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _read_digits(folder: Path, part: str) -> list[Video]:
    """The digits of one official part, "train" or "t10k"."""
    paths = {}
    for kind in ("images-idx3", "labels-idx1"):
        name = f"{part}-{kind}-ubyte"
        path = _find(folder, name)
        if path is None:
            raise MissingFileError(
                f"mnist: {folder} has neither {name} nor {name}.gz, of which t10k's are always needed"
            )
        paths[kind] = path
    images, labels = read_idx(paths["images-idx3"], 3), read_idx(paths["labels-idx1"], 1)
    if len(images) != len(labels):
        raise DataError(f"{paths['images-idx3']} has {len(images)} images, {paths['labels-idx1']} {len(labels)} labels")
    if not images.size:
        raise DataError(f"{paths['images-idx3']}: holds no pixels: its shape is {images.shape}")
    if labels.max() >= len(_CLASSES):
        number = int(np.argmax(labels >= len(_CLASSES)))
        raise DataError(f"{paths['labels-idx1']}: label {number} is {labels[number]}; digits have labels from 0 to 9")
    return _videos(part, images, labels, str(paths["images-idx3"]))


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _embedded_digits() -> list[Video]:
    try:
        from sklearn.datasets import load_digits  # takes a second to import, and only this needs it
    except ImportError as error:
        raise DataError(f"the embedded digits are scikit-learn's: pip install -r requirements.txt ({error})") from error

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return _videos("digits", images, digits.target, "scikit-learn's digits")


def _videos(part: str, images: np.ndarray, labels: np.ndarray, origin: str) -> list[Video]:
    """Clips of one frame, uint8 [1, H, W, 1], views of one array."""
    videos = []
    for number, (image, label) in enumerate(zip(images, labels)):
        identity = f"{part}/{number:05d}"
        frames = image[np.newaxis, :, :, np.newaxis]
        videos.append(Video.of(identity, f"{origin}#{number}", int(label), group=identity, frames=frames))
    return videos
