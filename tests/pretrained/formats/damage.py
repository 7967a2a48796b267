"""Damaged files of weights: read or refused, never anything else."""

import random

from vidjax.errors import DataError
from vidjax.pretrained.formats import read_arrays


def assert_read_or_refused(whole, path, count=200):
    """Reads files that are cut short or have one byte changed, by turns: what is cut is refused, in one line.

    Args:
      whole: bytes of the undamaged file.
      path: where the damaged ones are written.
      count: of damaged files.
    """
    rng, refusals = random.Random(0), 0
    for number in range(count):
        damaged = bytearray(whole)
        if number % 2:
            del damaged[rng.randrange(len(whole)) :]
        else:
            damaged[rng.randrange(len(whole))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            read_arrays(path)
        except DataError as error:
            refusals += 1
            assert str(path) in str(error) and len(str(error).splitlines()) == 1
    assert refusals >= count // 2  # each one that is cut
