"""Options that several sources share, and their checks."""

from pathlib import Path
from typing import Annotated

from vidjax.data.sources.partition import check_fractions
from vidjax.data.sources.user_paths import existing_folder
from vidjax.errors import OptionError
from vidjax.options.declaring import Option

Validation = Annotated[float, Option("fraction of the training part for validation (by group)", above=0, below=1)]
AllowMissing = Annotated[bool, Option("skip listed clips that are missing, and report how many are")]
Split = Annotated[int, Option("number of the official split", at_least=1, at_most=3)]


def folders_of_official_split(source: str, root: str, splits: str, split: int, validation: float) -> tuple[Path, Path]:
    """Checks the options of a source with three official splits.

    Returns:
      The folders of the clips and of the lists.

    Raises:
      ConfigError: if `split` or `validation` is out of range.
      DataError: if a folder is missing.
    """
    if split not in (1, 2, 3):
        raise OptionError(f"{source}: {{split}} is {split}; it must be 1, 2 or 3", ["split"])
    check_fractions(source, validation)
    return existing_folder(source, "root", root), existing_folder(source, "splits", splits)
