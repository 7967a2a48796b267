"""Folders and text lists at paths that the user gave; every error names the path."""

import os
from pathlib import Path

from vidjax.errors import DataError, MissingFileError, OptionDataError


def existing_folder(source: str, key: str, text: str) -> Path:
    """Returns the folder that an option names; a leading ~ is the home directory.

    Args:
      source: how messages name the source.
      key: the option that names it.
      text: its value.

    Raises:
      DataError: if there is no such folder.
    """
    folder = Path(os.path.expanduser(text))
    if not os.path.isdir(folder):
        raise OptionDataError(f"{source}: {{{key}}}={text} is not a folder", [key])
    return folder


def numbered_lines(path: Path) -> list[tuple[int, str]]:
    """Numbers, from 1, and text of the lines of a list that are not blank.

    UTF-8, with or without a byte order mark; any line ends.

    Raises:
      DataError: if the file cannot be read as text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
