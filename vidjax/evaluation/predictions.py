"""The predictions file of a run, from which every accuracy is computed: `predictions/test.json`. Imports no JAX."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vidjax.evaluation.record import Record, nested


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoPrediction(Record):
    """What was predicted for a video.

    Attributes:
      id: of the video.
      group: of its near-duplicates.
      label: its class.
      scores: floats [K], probabilities, averaged over the views.
      views: how many.
      view_ranks: place of the true class among the scores of each view, 0 = first; empty for an ensemble.
    """

    id: str
    group: str
    label: int
    scores: Sequence[float]
    views: int
    view_ranks: Sequence[int]

    @property
    def predicted(self) -> int:
        """The class of the highest score; of equal scores the lower class."""
        return int(np.argmax(self.scores))

    @property
    def is_correct(self) -> bool:
        """Whether that is its class."""
        return self.predicted == self.label


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure(Record):
    """A video that could not be read, and why."""

    id: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionsFile(Record):
    """What was predicted for a part of a data set.

    Attributes:
      dataset, split: of the data.
      part: "test" or "validation".
      classes: K names.
      average: what was averaged over views, a key of `scores.AVERAGES`; joined for an ensemble of several.
      views_per_video: how many.
      videos: that could be read.
      failed: that could not; or not every view of them.
    """

    dataset: str
    split: str
    part: str
    classes: Sequence[str]
    average: str
    views_per_video: int
    videos: Sequence[VideoPrediction] = nested(VideoPrediction)
    failed: Sequence[Failure] = nested(Failure)
