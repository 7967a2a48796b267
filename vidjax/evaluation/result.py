"""`result.json`: the result row of a run or an ensemble, and of the trivial baselines. Imports no JAX."""

import dataclasses
from collections.abc import Mapping, Sequence

from vidjax.evaluation.record import Record, optional


@dataclasses.dataclass(frozen=True, kw_only=True)
class Groups(Record):
    """How many videos of each (class, group) were correct: the clusters of `statistics.bootstrap_interval`.

    Attributes:
      label, videos, correct: ints [G], one entry for each (class, group), in the order of both.
      digest: one hash of their names for each split, by which results of the same videos know each other; older
        results have none.
    """

    label: Sequence[int]
    videos: Sequence[int]
    correct: Sequence[int]
    digest: Sequence[str] | None = optional()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member(Record):
    """A run whose scores an ensemble averages.

    Attributes:
      run: name of its directory.
      model, seed, video_top1, config_hash: as in its result.
      weight: its share of the scores.
    """

    run: str
    model: str
    seed: int | str
    weight: float
    video_top1: float
    config_hash: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result(Record):
    """The result row of a run or an ensemble, and what one needs to trust it.

    Accuracies are fractions over the videos that could be read; nan where there is none. Of an ensemble, numbers of
    cost are sums over its members, and what differs between them is joined as text.

    Attributes:
      model: its name, or its factory.
      inputs: what the model sees of a clip, in words.
      dataset, split: of the data.
      seed: of the run.
      parameters: how many.
      gmacs_per_view: multiply-accumulates / 1e9.
      resolution: of a view, "TxHxW".
      views: of each video.
      views_detail: the views in words.
      videos, failed_videos: test videos that were read, and those that could not be.
      clip_top1, clip_top5: shares of views; None for an ensemble.
      video_top5, video_top1: shares of videos, by their averaged scores.
      mean_class_accuracy: mean over the classes that have videos.
      per_class_videos, per_class_correct: ints [K].
      groups: the same by (class, group).
      seconds: wall time of training and evaluation.
      classes: K names.
      average: what was averaged over views, a key of `scores.AVERAGES`.
      absent_clips: of the data set's lists, that are not there.
      data_notes: what else is to be known of the data; taken out where results are collected.
      train_videos, validation_videos: how many.
      steps: trained.
      weights: which are tested, of `training.weights.WEIGHTS`.
      best_step: of the best validation; None without any.
      stopped_early: training ended before its last step.
      replaced_train_videos: how many could not be read, in whose place others stood.
      batch_size: clips of a step.
      parallel: form of the step.
      hardware, versions, commit, date: with what, by which code and when it was made.
      command: that made it; taken out where results are collected.
      config_hash: of its config.
      members: of an ensemble; None for a run.
      finished: the run has come to its end.
    """

    model: str
    inputs: str
    dataset: str
    split: str
    seed: int | str
    parameters: int
    gmacs_per_view: float
    resolution: str
    views: int
    views_detail: str | None = optional()
    videos: int
    failed_videos: int
    clip_top1: float | None
    clip_top5: float | None = None
    video_top5: float
    video_top1: float
    mean_class_accuracy: float
    per_class_videos: Sequence[int]
    per_class_correct: Sequence[int]
    groups: Groups | None = optional(Groups)  # noqa: RUF009
    seconds: float
    classes: Sequence[str]
    average: str | None = optional()
    absent_clips: int | str | None = optional()
    data_notes: Sequence[str] | None = optional()
    train_videos: int | str
    validation_videos: int | str | None = optional()
    steps: int | str
    weights: str | None = optional()
    best_step: int | None = None
    stopped_early: bool | None = optional()
    replaced_train_videos: int | None = optional()
    batch_size: int | str
    parallel: str | None = optional()
    hardware: str | None = optional()
    versions: Mapping[str, str] | None = optional()
    commit: str | None = None
    date: str | None = optional()
    command: str | None = optional()
    config_hash: str | None = optional()
    members: Sequence[Member] | None = optional(Member)
    finished: bool

    def keys(self) -> Sequence[str]:
        names = [*super().keys()]
        if self.members is None:
            return names
        names.remove("best_step")
        return sorted(names, key=lambda name: _ENSEMBLE.get(name, len(_ENSEMBLE)))


# The order of an ensemble's first and later keys differs from a run's.
_ENSEMBLE_KEYS = (
    "model dataset split parameters gmacs_per_view views inputs seed resolution views_detail videos failed_videos"
    " clip_top1 clip_top5 video_top5 video_top1 mean_class_accuracy per_class_videos per_class_correct groups seconds"
    " classes average train_videos validation_videos absent_clips steps batch_size parallel hardware versions commit"
    " date members finished command"
)
_ENSEMBLE = {name: place for place, name in enumerate(_ENSEMBLE_KEYS.split())}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline(Record):
    """What a trivial baseline reaches: an entry of the list in `baselines.json`.

    Attributes:
      baseline: its name.
      failed_videos: of the train and test part, that could not be decoded and are left out.
      correct: test videos.
      dataset, split, classes, videos, video_top1, mean_class_accuracy, per_class_videos, per_class_correct, groups: as
        in `Result`; older files have neither classes nor groups.
    """

    baseline: str
    dataset: str
    split: str
    classes: Sequence[str] | None = optional()
    videos: int
    failed_videos: int
    correct: int
    video_top1: float
    mean_class_accuracy: float
    per_class_videos: Sequence[int]
    per_class_correct: Sequence[int]
    groups: Groups | None = optional(Groups)  # noqa: RUF009


AnyResult = Result | Baseline
