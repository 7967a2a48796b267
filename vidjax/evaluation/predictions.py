"""`predictions/test.json`, the predictions that every accuracy of a run is computed from. Does not import JAX."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vidjax.evaluation.record import Record, nested, optional


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoPrediction(Record):
    """The prediction for a video.

    Attributes:
      id: of the video.
      group: of near-duplicate videos.
      label: true class.
      scores: floats [K], probabilities, averaged over the views.
      views: number of views.
      view_ranks: rank of the true class among the scores of each view, 0 = highest; empty for an ensemble.
      path: where the video was read; older files lack it, as they do the names.
      label_name, predicted_name: names of the true class, and of the one with the highest score.
    """

    id: str
    group: str
    label: int
    scores: Sequence[float]
    views: int
    view_ranks: Sequence[int]
    path: str | None = optional()
    label_name: str | None = optional()
    predicted_name: str | None = optional()

    @property
    def predicted(self) -> int:
        """The class with the highest score; in case of ties the lowest class index."""
        return int(np.argmax(self.scores))

    @property
    def is_correct(self) -> bool:
        """Whether the prediction is the true class."""
        return self.predicted == self.label


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure(Record):
    """A video that could not be read, and why."""

    id: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictionsFile(Record):
    """The predictions for one part of a data set.

    Attributes:
      dataset, split: of the data.
      part: "train", "validation" or "test".
      classes: K names.
      average: what was averaged over views, a key of `scores.AVERAGES`; joined for an ensemble with several.
      views_per_video: number of views.
      videos: predictions for the videos that could be read.
      failed: videos of which at least one view could not be read.
    """

    dataset: str
    split: str
    part: str
    classes: Sequence[str]
    average: str
    views_per_video: int
    videos: Sequence[VideoPrediction] = nested(VideoPrediction)
    failed: Sequence[Failure] = nested(Failure)
