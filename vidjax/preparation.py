"""From a config to a run that may begin: built from its data, and refused where something does not fit."""

import dataclasses
from collections.abc import Sequence

from ml_collections import ConfigDict

from vidjax import building, checks
from vidjax.data import index
from vidjax.reporting import terminal
from vidjax.run import Run
from vidjax.training import parallel


def prepare(config: ConfigDict, parts: Sequence[str] = ("train", "validation", "test")) -> Run:
    """Builds what a config describes.

    Args:
      config: resolved; it is given the options of what it chooses.
      parts: of the data that are going to be read.

    Raises:
      ConfigError: for keys that do not fit each other.
      DataError: for data that are incomplete or contradict themselves.
    """
    # Before the data are made or read, so that what is wrong is known at once.
    checks.check_config(config)
    form = parallel.choose(config.parallel)
    checks.check_devices(config, form)
    checks.check_shapes(config)
    source = building.source(config)
    checks.check_data(config, source)
    run = building.run(config, source, form)
    if config.data.check is not False:
        source = index.indexed(
            source,
            parts,
            progress=lambda records, total: terminal.track(records, total, "checking each video once", "videos"),
        )
        run = dataclasses.replace(run, source=source)
    checks.check_readable(source, source.refused, config.data.max_bad_fraction)
    checks.check_run(run)
    return run
