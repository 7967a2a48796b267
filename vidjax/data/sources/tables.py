"""Reading lists of clips that are CSV files; every error names the file and the line."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vidjax.errors import DataError, DuplicateError, MissingFileError


class CsvRow(NamedTuple):
    """A row of a CSV file.

    Attributes:
      line: its number in the file, from 1; the last one where a quoted field runs over several.
      fields: column name -> content, without spaces around it.
    """

    line: int
    fields: dict[str, str]


def read_table(path: Path, columns: Sequence[str]) -> list[CsvRow]:
    """Reads a CSV file (RFC 4180) in UTF-8, with or without a byte order mark; blank lines are skipped.

    Args:
      path: the file.
      columns: those that its first line must name, in any order; others may be there, too.

    Returns:
      The rows, at least one, in the order of the file; names of columns in lower case.

    Raises:
      DataError: if the file cannot be read, has no such header or no row, or a row does not fit the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            try:
                lines = [(reader.line_num, [field.strip() for field in fields]) for fields in reader]
            except csv.Error as error:
                raise DataError(f"{path}:{reader.line_num}: is not valid CSV: {error}") from error
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: {error}") from error
    filled = [(number, fields) for number, fields in lines if any(fields)]
    if not filled:
        raise DataError(f"{path}: is empty; its first line must be {','.join(columns)}")
    header = _header(path, *filled[0], columns)
    for number, fields in filled[1:]:
        if len(fields) != len(header):
            raise DataError(f"{path}:{number}: has {len(fields)} fields, but the header names {len(header)}")
    if len(filled) == 1:
        raise DataError(f"{path}: names no clip: it has only a header")
    return [CsvRow(number, dict(zip(header, fields))) for number, fields in filled[1:]]


def _header(path: Path, number: int, fields: list[str], columns: Sequence[str]) -> list[str]:
    names = [field.lower() for field in fields]
    missing = [column for column in columns if column not in names]
    if missing:
        raise DataError(
            f"{path}:{number}: the header must name {','.join(columns)}, separated by commas;"
            f" {', '.join(missing)} is not in {','.join(fields)[:80]!r}"
        )
    repeated = [name for name in names if name and names.count(name) > 1]
    if repeated:
        raise DuplicateError(f"{path}:{number}: the header names {repeated[0]} twice")
    return names
