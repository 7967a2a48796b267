"""What is known of weights: where they come from, and the preprocessing that their network expects."""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidjax.data.clips import ClipSpec
from vidjax.data.flip_rule import FlipRule
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError, DataError

Channels = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class ExpectedInput:
    """What a network was trained to see.

    Attributes:
      frames: T, frames per clip; 1 for images. A shorter video is looped up to it.
      fps: frame rate of the videos, in frames per second.
      short_side: shorter side, in pixels, to which frames are resized.
      crop: side, in pixels, of the square that is cut.
      mean, std: of red, green and blue: a pixel value p in 0..255 becomes (p - mean) / std.
      average: what is averaged over positions and clips, a key of `evaluation.scores.AVERAGES`.
    """

    frames: int
    fps: float
    short_side: int
    crop: int
    mean: Channels
    std: Channels
    average: str

    @property
    def value_range(self) -> tuple[float, float]:
        """The least and the greatest value that a pixel can become, over all channels."""
        low = min(-mean / std for mean, std in zip(self.mean, self.std))
        return low, max((255 - mean) / std for mean, std in zip(self.mean, self.std))


@dataclasses.dataclass(frozen=True)
class Package:
    """A file in a package of PyPI.

    Attributes:
      requirement: what pip installs to bring the file.
      package: that is installed by it.
      file: in the folder of the package.
    """

    requirement: str
    package: str
    file: str


@dataclasses.dataclass(frozen=True)
class Address:
    """A file on the network: its URL."""

    url: str


@dataclasses.dataclass(frozen=True)
class Info:
    """Published weights.

    Attributes:
      name: in the catalog.
      model: key of `vidjax.models.MODELS`.
      options: of the model.
      source: where the weights come from.
      license: of the weights.
      preprocessing: of the clips.
      class_list: name of the file beside this one with the names of the classes, one a line in label order.
      class_names: the same, where there is no such file.
      clip, views: what is cut from a video, and how often, for its scores. None: of networks of images 10 frames, and
        networks of videos see the whole video at once.
      mirror: the rule for horizontal flips of the data that they were trained on.
      layout: of the file, a key of `importers.IMPORTERS`, or the name of another layout.
      download: where the file is.
      megabytes: of the download.
      checksum: of the file, "sha256:..." or "md5:..."; the first digits of a digest if its publisher gives no more, and
        None if it gives none.
      citation: of the paper.
      accuracy: what was measured -> published value, in percent.
      fingerprint: the five largest logits of `fingerprint.clip` with their labels, highest first; None if these weights
        have never been on a machine where they could be recorded.
    """

    name: str
    model: str
    source: str
    license: str
    preprocessing: ExpectedInput
    class_list: str | None = None
    class_names: tuple[str, ...] = ()
    clip: ClipSpec | None = None
    views: ViewSpec | None = None
    mirror: FlipRule = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    layout: str = ""
    download: Package | Address | None = None
    megabytes: float = 0
    checksum: str | None = None
    citation: str = ""
    accuracy: Mapping[str, float] = dataclasses.field(default_factory=dict)
    fingerprint: tuple[tuple[int, float], ...] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in label order."""
        return _classes(self.class_list) if self.class_list is not None else self.class_names

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.classes)

    def check(self, file: str | os.PathLike[str]) -> None:
        """Refuses a file that is not the published one; any is accepted where no checksum is published.

        Raises:
          DataError: names the file.
        """
        if self.checksum is None:
            return
        kind, _, expected = self.checksum.partition(":")
        try:
            with open(file, "rb") as stream:
                digest = hashlib.file_digest(stream, kind).hexdigest()
        except OSError as error:
            raise DataError(f"{os.fspath(file)}: {error.strerror or 'cannot be read'}") from error
        if not digest.startswith(expected):
            raise DataError(
                f"{os.fspath(file)}: is not the published file of {self.name} ({kind} {digest[:12]}..,"
                f" not {expected[:12]}..)"
            )

    def metadata(self) -> dict[str, str]:
        """What a file in vidjax's own layout says of its weights, as texts by name."""
        return {
            "model": self.model,
            "options": json.dumps(dict(self.options)),
            "classes": json.dumps(self.classes),
            "preprocessing": json.dumps(dataclasses.asdict(self.preprocessing)),
            "clip": json.dumps(None if self.clip is None else dataclasses.asdict(self.clip)),
            "views": json.dumps(None if self.views is None else dataclasses.asdict(self.views)),
            "mirror": json.dumps(self.mirror),
            "source": self.source,
            "license": self.license,
            "citation": self.citation,
            "accuracy": json.dumps(dict(self.accuracy)),
        }

    @classmethod
    def of_metadata(cls, name: str, metadata: Mapping[str, str]) -> "Info":
        """What such a file says.

        Args:
          name: of the weights.
          metadata: as `metadata` gives it.

        Raises:
          DataError: if something is missing or of the wrong type.
        """
        try:
            given = json.loads(metadata["preprocessing"])
            kinds = {"frames": int, "fps": float, "short_side": int, "crop": int, "average": str}
            preprocessing = ExpectedInput(
                mean=_channels(given["mean"]),
                std=_channels(given["std"]),
                **{key: kind(given[key]) for key, kind in kinds.items()},
            )
            return cls(
                name=name,
                model=metadata["model"],
                options=dict(json.loads(metadata["options"])),
                class_names=tuple(map(str, json.loads(metadata["classes"]))),
                preprocessing=preprocessing,
                clip=_spec(ClipSpec, metadata),
                views=_spec(ViewSpec, metadata),
                mirror=_tuples(json.loads(metadata.get("mirror", "null"))),
                source=metadata.get("source", ""),
                license=metadata.get("license", ""),
                citation=metadata.get("citation", ""),
                accuracy={key: float(value) for key, value in json.loads(metadata.get("accuracy", "{}")).items()},
            )
        except (KeyError, ValueError, TypeError, AttributeError, ConfigError) as error:
            raise DataError(f"{name}: its metadata do not say what the weights are of ({error!r})") from error


def _spec(kind: Any, metadata: Mapping[str, str]) -> Any:
    given = json.loads(metadata.get({ClipSpec: "clip", ViewSpec: "views"}[kind], "null"))
    return None if given is None else kind(**{key: _tuples(value) for key, value in given.items()})


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _channels(values: Any) -> Channels:
    red, green, blue = map(float, values)
    return red, green, blue


@functools.cache
def _classes(name: str) -> tuple[str, ...]:
    return tuple((Path(__file__).parent / name).read_text(encoding="utf-8").splitlines())
