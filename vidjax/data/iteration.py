"""Iterates over a Grain data set: threads or worker processes behind one closeable iterator."""

import logging
import sys
from typing import Any, NamedTuple

import grain
import numpy as np

from vidjax.data import cache
from vidjax.data.records import Batch

# Batches that may wait for the step in each process, besides those that its threads are making.
PREFETCH_BATCHES = 2


class BatchWithFailures(NamedTuple):
    """A batch, and (video number, reason) of the videos in it that could not be read."""

    batch: Batch
    failures: tuple[tuple[int, str], ...]


class BatchIterator:
    """Yields batches in order. Close it, or use it as a context manager: it holds threads or processes.

    An error from reading is raised once, closes the iterator, and is raised again by every further `next`:
    continuing after it would silently skip examples.

    Args:
      dataset: a Grain MapDataset of `BatchWithFailures`.
      video_ids: the id of each video, by its number.
      threads: reading threads in each process.
      workers: worker processes; 0 reads in this one.

    Attributes:
      failed: id -> reason of every video that could not be read so far.
    """

    def __init__(self, dataset: Any, video_ids: tuple[str, ...], *, threads: int, workers: int):
        self.failed: dict[str, str] = {}
        self._video_ids = video_ids
        self._workers = workers
        self._error: BaseException | None = None
        options = grain.ReadOptions(
            num_threads=threads, prefetch_buffer_size=threads + PREFETCH_BATCHES if threads else 0
        )
        batches = dataset.to_iter_dataset(options)
        if workers:
            _mark_flags_as_parsed()
            options = grain.MultiprocessingOptions(num_workers=workers)
            batches = batches.mp_prefetch(options, worker_init_fn=_start_worker)
        self._batches = iter(batches)

    def __iter__(self) -> "BatchIterator":
        return self

    def __next__(self) -> Batch:
        if self._error is not None:
            raise self._error
        try:
            batch, failures = next(self._batches)
        except StopIteration:
            self.close()
            raise
        except BaseException as error:
            self.close()
            self._error = error
            raise
        for number, reason in failures:
            self.failed[self._video_ids[number]] = reason
        return _copied(batch) if self._workers else batch

    def close(self) -> None:
        """Ends the reading threads and worker processes; `next` then raises StopIteration."""
        if self._error is None:
            self._error = StopIteration()
            self._batches.close()
            self._batches = iter(())  # Grain's, deleted only when the interpreter ends, would complain

    def __enter__(self) -> "BatchIterator":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _copied(batch: Batch) -> Batch:
    """Copies a worker's batch out of shared memory: a batch that is kept would hold its segment open."""
    inputs = {name: np.array(value) for name, value in batch.inputs.items()}
    mirrored = None if batch.mirrored is None else np.array(batch.mirrored)
    return Batch(inputs, np.array(batch.label), np.array(batch.index), np.array(batch.mask), mirrored)


def _start_worker(index: int, count: int) -> None:
    """Sets up a worker's logging: plain lines, and the warnings of a cache from the first worker only."""
    logger, handler = logging.getLogger("vidjax"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    if index:
        logging.getLogger(cache.__name__).setLevel(logging.ERROR)


def _mark_flags_as_parsed() -> None:
    """Grain passes absl's flags to its workers and refuses unparsed ones, as when no absl app runs (pytest)."""
    flags = sys.modules["absl.flags"].FLAGS  # Grain has imported it
    if not flags.is_parsed():
        flags.mark_as_parsed()
