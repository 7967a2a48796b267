"""Combines the scores of views into one prediction per video."""

from collections.abc import Mapping, Sequence

import numpy as np

from vidjax.data.flip_rule import FlipRule
from vidjax.data.records import Source, Video
from vidjax.data.views import ViewSpec
from vidjax.errors import DataError, DivergedError
from vidjax.evaluation.metrics import rank
from vidjax.evaluation.predictions import Failure, PredictionsFile, VideoPrediction
from vidjax.evaluation.scores import average_views


class ViewScores:
    """Collects the scores of views, in any order.

    Args:
      videos: the videos to evaluate.
      views: the views per video; view v of video i has number i * views.count + v.
      classes: K.
      mirror: flip rule of the source; scores of flipped views are mapped back to the classes of the original video.
    """

    def __init__(self, videos: Sequence[Video], views: ViewSpec, classes: int, mirror: FlipRule = None):
        self._videos = videos
        self._views = views
        self._scores = np.zeros((len(videos), views.count, classes), np.float32)
        self._loss = np.zeros((len(videos), views.count), np.float64)
        self._seen = np.zeros((len(videos), views.count), bool)
        self._mirror = list(mirror) if isinstance(mirror, tuple) else None

    def add(self, index: np.ndarray, mask: np.ndarray, scores: np.ndarray, loss: np.ndarray) -> None:
        """Adds the views of one batch; masked views are skipped.

        Args:
          index: int [B], view numbers.
          mask: bool [B].
          scores: float [B, K].
          loss: float [B].

        Raises:
          DataError: if a view is added twice.
          DivergedError: if a score is not finite.
        """
        for number, view_scores, view_loss in zip(index[mask], scores[mask], loss[mask]):
            video, view = divmod(int(number), self._views.count)
            if self._seen[video, view]:
                raise DataError(f"view {view} of video {self._videos[video].id} was evaluated twice")
            if not np.isfinite(view_scores).all():
                raise DivergedError(f"scores of video {self._videos[video].id} are not finite: training diverged")
            if self._mirror is not None and self._views.is_flipped(view):
                view_scores = view_scores[self._mirror]
            self._scores[video, view] = view_scores
            self._loss[video, view] = view_loss
            self._seen[video, view] = True

    def mean_loss(self) -> float:
        """Mean loss over all views that were read; nan if there are none."""
        return float(self._loss[self._seen].mean()) if self._seen.any() else float("nan")

    def records(self, source: Source, part: str, average: str, failed: Mapping[str, str]) -> PredictionsFile:
        """Averages the views of each video.

        Args:
          source: the source of the videos.
          part: "test" or "validation".
          average: what was averaged, a key of `AVERAGES`.
          failed: video id -> why it could not be read.

        Returns:
          The predictions. A video with any missing view counts as failed.
        """
        videos, failures = [], []
        for number, video in enumerate(self._videos):
            if not self._seen[number].all():
                failures.append(Failure(id=video.id, reason=failed.get(video.id, "some views could not be read")))
                continue
            scores = self._scores[number]
            averaged = [float(f"{score:.7g}") for score in average_views(scores, average)]
            videos.append(
                VideoPrediction(
                    id=video.id,
                    group=video.group,
                    label=video.label,
                    scores=averaged,
                    views=self._views.count,
                    view_ranks=[rank(view, video.label) for view in scores],
                    path=video.path,
                    label_name=source.classes[video.label],
                    predicted_name=source.classes[int(np.argmax(averaged))],
                )
            )
        return PredictionsFile(
            dataset=source.name,
            split=source.split,
            part=part,
            classes=list(source.classes),
            average=average,
            views_per_video=self._views.count,
            videos=videos,
            failed=failures,
        )
