"""Reads some rows of an array in a file.

Mapping the file into memory instead took 1.5 times as long with one thread and twice as long with two, and a file that
is truncated meanwhile would kill the process.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np


def read_rows(
    read_into: Callable[[memoryview, int], int],
    start: int,
    shape: Sequence[int],
    dtype: np.dtype,
    indices: Sequence[int],
) -> np.ndarray:
    """Reads the rows with the given numbers, in the given order; adjacent rows are read at once.

    Args:
      read_into: fills a buffer from a position in the file, or a part of it; returns the number of bytes, 0 at the end.
      start: at which byte the array begins.
      shape: of one row.
      dtype: of the array.
      indices: numbers of the rows; may repeat.

    Returns:
      [len(indices), *shape].

    Raises:
      OSError: if the disk fails.
      EOFError: if the file ends before a row does.
    """
    rows = np.empty((len(indices), *shape), dtype)
    size = math.prod(shape) * dtype.itemsize
    bytes_of = rows.reshape(len(indices), -1).view(np.uint8)
    place = 0
    while place < len(indices):
        end = place + 1
        while end < len(indices) and indices[end] == indices[end - 1] + 1:
            end += 1
        wanted, at = bytes_of[place:end].data.cast("B"), start + int(indices[place]) * size
        while wanted:
            got = read_into(wanted, at)
            if not got:
                raise EOFError
            wanted, at = wanted[got:], at + got
        place = end
    return rows
