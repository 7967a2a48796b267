"""What the runs of an experiment are going to cost, before the first begins."""

from collections.abc import Iterable

from ml_collections import ConfigDict

from vidjax import models
from vidjax.config import building, loading
from vidjax.errors import VidjaxError
from vidjax.experiment.plan import PlannedRun

_CLASSES = 10  # the count hardly depends on them
_TRAINING = 3  # passes: forward, and backward to inputs and to parameters


def describe(runs: Iterable[PlannedRun]) -> str:
    """Steps and multiply-accumulates of training, e.g. "4,000 steps, 2.1e+15 multiply-accumulates".

    Runs whose length is in epochs, or that train on features that are computed once, are counted apart.
    """
    steps, macs, uncounted = 0, 0.0, 0
    known: dict[str, int] = {}
    for run in runs:
        config = loading.load(run.config, run.overrides)
        length = config.train.steps
        if length is None or config.train.features_once:
            uncounted += 1
            continue
        if run.config not in known:
            known[run.config] = _macs(config)
        steps += length
        macs += float(length) * config.train.batch_size * _TRAINING * known[run.config]
    counted = f"{steps:,} training steps, {macs:.1e} multiply-accumulates" if steps else ""
    runs_left = f"{uncounted} run{'' if uncounted == 1 else 's'}"
    rest = f"{runs_left} without a length in steps, or on features that are computed once" if uncounted else ""
    return "; and ".join(filter(None, (counted, rest)))


def _macs(config: ConfigDict) -> int:
    """Multiply-accumulates of one clip; 0 where the network needs its data to be known."""
    side = config.preprocessing.crop or config.data.crop
    try:
        return models.summary(building.model(config, _CLASSES), rgb=(1, config.data.frames, side, side, 3)).macs
    except (VidjaxError, TypeError, ValueError):
        return 0
