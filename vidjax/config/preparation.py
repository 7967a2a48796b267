"""Builds and checks a run from its config and its data."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from vidjax.config import building, data, initial_weights, run_validation, validation
from vidjax.config.run import Run
from vidjax.data import indexing
from vidjax.pretrained.sources import GivenWeights
from vidjax.system import terminal
from vidjax.training import parallel


def prepare(
    config: ConfigDict,
    parts: Sequence[str] = ("train", "validation", "test"),
    given: GivenWeights | None = None,
) -> Run:
    """Builds what a config describes.

    Args:
      config: resolved; it is given the options of what it chooses.
      parts: of the data that are going to be read.
      given: the weights that training begins from; None: random ones.

    Raises:
      ConfigError: for keys that do not fit each other.
      DataError: for data that are incomplete or contradict themselves.
    """
    # Before the data are made or read, so that what is wrong is known at once.
    validation.check_config(config)
    strategy = parallel.choose(config.parallel)
    validation.check_devices(config, strategy)
    run_validation.check_shapes(config)
    source = building.source(config)
    validation.check_data(config, source)
    run = building.run(config, source, strategy)
    if given is not None:  # before all videos are inspected, which may take minutes
        fitted = initial_weights.fit(
            config,
            given,
            source.classes,
            run.abstract_state,
            run.specs(run.input_side),
            functools.partial(building.model, config),
        )
        run = dataclasses.replace(run, initial_weights=fitted)
    source = data.with_computed(config, source, parts, may_compute=jax.process_count() == 1)
    run = dataclasses.replace(run, source=source)
    if config.data.check is not False:
        source = indexing.with_file_info(
            source,
            parts,
            progress=lambda records, total: terminal.track(records, total, "checking each video once", "videos"),
        )
        run = dataclasses.replace(run, source=source)
    run_validation.check_readable(source, source.refused, config.data.max_bad_fraction)
    run_validation.check_run(run)
    return run
