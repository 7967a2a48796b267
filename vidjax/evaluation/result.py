"""`result.json`: results of runs and ensembles, and `baselines.json`. Does not import JAX."""

import dataclasses
from collections.abc import Mapping, Sequence

from vidjax.evaluation.record import Record, optional


@dataclasses.dataclass(frozen=True, kw_only=True)
class Groups(Record):
    """How many videos of each (class, group) were correct: the clusters of `statistics.bootstrap_interval`.

    Attributes:
      label, videos, correct: ints [G], one entry for each (class, group), in the order of both.
      digest: one hash of the group names per split, which tells whether two results are on the same videos; None in
        older results.
    """

    label: Sequence[int]
    videos: Sequence[int]
    correct: Sequence[int]
    digest: Sequence[str] | None = optional()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member(Record):
    """A member of an ensemble.

    Attributes:
      run: name of the run directory.
      model, seed, video_top1, config_hash: as in its result.
      weight: normalized weight of its scores; None where they are no average.
    """

    run: str
    model: str
    seed: int | str
    weight: float | None = optional()
    video_top1: float
    config_hash: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result(Record):
    """The result of a run or an ensemble, with its provenance.

    Accuracies are fractions over the videos that could be read; nan if there are none. For an ensemble, costs are
    summed over the members, and values that differ between members are joined as text.

    Attributes:
      model: name or factory.
      inputs: description of the clip that the model sees.
      dataset, split: of the data.
      seed: of the run.
      parameters: number of parameters.
      gmacs_per_view: multiply-accumulates / 1e9.
      resolution: of a view, "TxHxW".
      views: number of views per video.
      views_detail: description of the views.
      videos, failed_videos: number of test videos that could and that could not be read.
      clip_top1, clip_top5: accuracy over views; None for an ensemble.
      video_top5, video_top1: accuracy over videos, by their averaged scores.
      mean_class_accuracy: mean over the classes that have videos.
      shuffled_top1: video_top1 with the frames of each clip in random order (`evaluate.shuffled`).
      per_class_videos, per_class_correct: ints [K].
      groups: the same per (class, group).
      seconds: wall time of training and evaluation.
      feature_seconds: wall time of computing features once, whenever that was; not among the others.
      classes: K names.
      average: what was averaged over views, a key of `scores.AVERAGES`.
      absent_clips: number of clips in the data set's lists that are missing.
      data_notes: other remarks on the data; removed when results are collected.
      train_videos, validation_videos: number of videos.
      steps: number of training steps.
      initial_weights: that training began from, of `config.weights.source`; None: random ones ("random" of ensembles).
      weights: which weights were evaluated, of `training.weights.WEIGHTS`.
      best_step: of the best validation; None without validations.
      stopped_early: whether training ended before its last step.
      replaced_train_videos: number of unreadable training videos that were replaced by others.
      batch_size: clips per step.
      parallel: parallel strategy.
      hardware, versions, commit, date: environment, code and date of the evaluation.
      command: command line; removed when results are collected.
      config_hash: hash of the config.
      members: of an ensemble; None for a run.
      finished: whether the run has finished.
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
    shuffled_top1: float | None = optional()
    per_class_videos: Sequence[int]
    per_class_correct: Sequence[int]
    groups: Groups | None = optional(Groups)  # noqa: RUF009
    seconds: float
    feature_seconds: float | None = optional()
    classes: Sequence[str]
    average: str | None = optional()
    absent_clips: int | str | None = optional()
    data_notes: Sequence[str] | None = optional()
    train_videos: int | str
    validation_videos: int | str | None = optional()
    steps: int | str
    initial_weights: str | None = optional()
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


# Ensembles store their keys in another order than runs.
_ENSEMBLE_KEYS = (
    "model dataset split parameters gmacs_per_view views inputs seed resolution views_detail videos failed_videos"
    " clip_top1 clip_top5 video_top5 video_top1 mean_class_accuracy per_class_videos per_class_correct groups seconds"
    " classes average train_videos validation_videos absent_clips steps initial_weights batch_size parallel"
    " hardware versions commit date members finished command"
)
_ENSEMBLE = {name: place for place, name in enumerate(_ENSEMBLE_KEYS.split())}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline(Record):
    """The result of a trivial baseline: an entry of the list in `baselines.json`.

    Attributes:
      baseline: name.
      failed_videos: number of training and test videos that could not be decoded and are left out.
      correct: number of correctly classified test videos.
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
