"""`vidjax.load`: a trained network as a function from videos to predictions."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vidjax.data.pipeline import evaluation_batches
from vidjax.data.records import Batch, Video
from vidjax.errors import DivergedError, VideoError
from vidjax.evaluation.scores import average_views
from vidjax.inference.network import TrainedNetwork, load_network
from vidjax.inference.over_time import Interval, Moment, clips_over_time
from vidjax.inference.videos import Progress, TitledProgress, inspected, listed_videos, untracked
from vidjax.layers.convolution import native_operations
from vidjax.pretrained import Pretrained
from vidjax.pretrained.video_classifier import VideoClassifier
from vidjax.system import devices
from vidjax.training.parallel import JitStrategy

Videos = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a network says of a video.

    Attributes:
      video: the path.
      classes: K names.
      probabilities: float64 [K], summing to 1; None if the video could not be read.
      error: why it could not be read; None if it could.
      seen: what the network has seen of it, e.g. "3 clips" or "80 frames".
    """

    video: str
    classes: tuple[str, ...] = dataclasses.field(repr=False)
    probabilities: np.ndarray | None = dataclasses.field(repr=False, compare=False)
    error: str | None = None
    seen: str = ""

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes and their probabilities, highest first.

        Raises:
          VideoError: if the video could not be read.
        """
        if self.probabilities is None:
            raise VideoError(self.video, self.error or "")
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.classes[k], float(self.probabilities[k])) for k in order]

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.top(1)[0][0]

    @property
    def probability(self) -> float:
        """Of that class."""
        return self.top(1)[0][1]


def load(source: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None) -> "Classifier":
    """Loads a trained network as a classifier of videos; the data that it was trained on are not needed.

    Args:
      source: a run directory, or the name of published weights.
      overrides: of a run, e.g. {"evaluate.clips": 10}: as in `inference.network.load_network`.

    Example:
      >>> classify = vidjax.load(run)
      >>> classify.classes
      ('bright', 'dark')
      >>> [good, missing] = classify([video, "missing.mp4"])
      >>> good.label, good.error
      ('bright', None)
      >>> missing.error
      'No such file or directory'

    Raises:
      VidjaxError: in one line, if there is no such network.
    """
    return Classifier(load_network(Path(source) if isinstance(source, os.PathLike) else source, overrides))


class Classifier:
    """Classifies videos.

    Args:
      network: the network.

    Attributes:
      network: the same.
    """

    def __init__(self, network: TrainedNetwork):
        self.network = network
        strategy = JitStrategy(devices.available()[:1])
        self._variables = jax.device_put(network.variables, strategy.placement)
        self._strategy = strategy
        self._whole: VideoClassifier | None = None

        def score(variables: Any, batch: Batch) -> jax.Array:
            return network.scores(variables, network.preprocessing.evaluation(batch))

        self._score: Any = strategy.compile_eval(score)

    @property
    def classes(self) -> tuple[str, ...]:
        """K names, in label order."""
        return self.network.classes

    def __call__(self, videos: Videos) -> list[Prediction]:
        """Classifies videos.

        Args:
          videos: a path, or several: of video files, folders of images, folders of videos, and lists (.csv), see
            `inference.videos.listed_videos`.

        Returns:
          A prediction for each video; one that could not be read has an `error` instead of probabilities.

        Raises:
          VidjaxError: if a list cannot be read, or the network takes something else than videos.
        """
        given = [videos] if isinstance(videos, str | os.PathLike) else videos
        return list(self.predictions(listed_videos(os.fspath(path) for path in given)))

    def predictions(
        self,
        paths: Sequence[str],
        progress: Progress = lambda records, total: records,
        computing: TitledProgress = untracked,
    ) -> Iterator[Prediction]:
        """Yields the prediction for each path, in order, as soon as it is known.

        Args:
          paths: of videos, as `listed_videos` returns them.
          progress, computing: wrap the inspection of the files, and the computation of streams such as flow; as in
            `inference.videos.inspected`.
        """
        videos = inspected(paths, self.network, progress, computing)
        if self.network.sees_whole_videos:
            yield from map(self._of_whole_video, videos)
            return
        count = self.network.views.count
        readable = [video for video in videos if video.refused is None]
        scored = self._scores(readable) if readable else iter(())
        for video in videos:
            found = video.refused if video.refused is not None else next(scored)
            if isinstance(found, str):
                yield Prediction(video.id, self.classes, None, found)
            else:
                seen = self.network.views.describe() if count > 1 else "1 clip"
                yield Prediction(video.id, self.classes, found, seen=seen)

    def over_time(self, video: str | os.PathLike[str], every: str | Interval) -> Iterator[tuple[Moment, np.ndarray]]:
        """Classifies the middle of each interval of a video, which is decoded once, in order, in constant memory.

        One clip is seen of each interval, the square in the middle of its frames.

        Args:
          video: a video file or a folder of images.
          every: the interval, e.g. "1s", "500ms", "2min" or "30 frames".

        Yields:
          The moment, and float64 [K] probabilities.

        Raises:
          ConfigError: if `every` is no interval.
          VideoError: if the video cannot be read.
        """
        interval = every if isinstance(every, Interval) else Interval.read(every)
        waiting: list[tuple[Moment, dict[str, np.ndarray]]] = []
        size: int | None = None
        for moment, clip in clips_over_time(os.fspath(video), self.network, interval):
            waiting.append((moment, clip))
            if len(waiting) == self.network.batch_size:
                size = len(waiting)
                yield from self._of_moments(waiting, size)
                waiting = []
        if waiting:
            yield from self._of_moments(waiting, size or len(waiting))

    def _of_moments(
        self, waiting: Sequence[tuple[Moment, dict[str, np.ndarray]]], size: int
    ) -> Iterator[tuple[Moment, np.ndarray]]:
        padded = [clip for _, clip in waiting] + [waiting[-1][1]] * (size - len(waiting))
        inputs = {name: np.stack([clip[name] for clip in padded]) for name in padded[0]}
        batch = Batch(inputs, np.zeros(size, np.int32), np.arange(size, dtype=np.int32), np.ones(size, bool))
        for (moment, _), scores in zip(waiting, self._of_batch(batch), strict=False):
            yield moment, self._probabilities(scores[None], f"the clip at frame {moment.frame}")

    def _of_batch(self, batch: Batch) -> np.ndarray:
        """Float [B, K]: scores, see `TrainedNetwork.scores`."""
        with native_operations(self.network.native_convolutions):
            scores: np.ndarray = jax.device_get(self._score(self._variables, self._strategy.put_batch(batch)))
        return scores

    def _probabilities(self, views: np.ndarray, what: str) -> np.ndarray:
        if not np.isfinite(views).all():
            raise DivergedError(f"{self.network.name}: scores of {what} are not finite: training diverged")
        return average_views(views, self.network.average)

    def _scores(self, videos: Sequence[Video]) -> Iterator[np.ndarray | str]:
        """Float64 [K] probabilities of each video, or why it could not be read."""
        network = self.network
        views, mirror = network.views, list(network.mirror) if isinstance(network.mirror, tuple) else None
        batches = evaluation_batches(
            videos,
            network.clip,
            views,
            inputs=network.inputs,
            batch_size=min(network.batch_size, len(videos) * views.count),
        )
        seen: list[np.ndarray] = []
        with batches:
            for batch in batches:
                scores = self._of_batch(batch)
                for index, is_read, of_view in zip(batch.index, batch.mask, scores, strict=True):
                    number, view = divmod(int(index), views.count)
                    if number >= len(videos):
                        return
                    if is_read:
                        seen.append(of_view[mirror] if mirror and views.is_flipped(view) else of_view)
                    if view < views.count - 1:
                        continue
                    name = videos[number].id
                    if len(seen) == views.count:
                        yield self._probabilities(np.stack(seen), name)
                    else:
                        yield batches.failed.get(name, "some views could not be read")
                    seen = []

    def _of_whole_video(self, video: Video) -> Prediction:
        if self._whole is None:
            info = self.network.published
            assert info is not None
            self._whole = VideoClassifier(Pretrained(self.network.module, self.network.variables, info))
        try:
            scores = self._whole(video)
        except VideoError as error:
            return Prediction(video.id, self.classes, None, error.reason)
        frames = f"{scores.frames} frame{'s' * (scores.frames != 1)}"
        parts = f" in {scores.pieces} pieces" if scores.pieces > 1 else ""
        return Prediction(video.id, self.classes, scores.probabilities, seen=f"{frames}{parts}")
