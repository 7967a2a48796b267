"""Errors that the user can fix. Each is one line, which the command line shows without a traceback."""

import contextlib
import errno
from collections.abc import Collection, Iterator

# What a user can mend: permissions, space, and names that are taken by another kind of file.
_OF_FILES = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG),
}


class VidjaxError(Exception):
    """Base of everything that vidjax refuses with a sentence instead of a traceback."""


def of_files(error: OSError) -> str | None:
    """What the system says of a file, in one line; None if the error is of another kind."""
    if error.errno not in _OF_FILES or error.filename is None:
        return None
    return f"{printable(str(error.filename))}: {error.strerror}"


class ConfigError(VidjaxError):
    """A config, a flag or an option is wrong; the message names the key and what is accepted.

    Args:
      message: in one line.
      keys: of the config that it is about, if known.
    """

    def __init__(self, message: str = "", keys: Collection[str] = ()):
        super().__init__(message)
        self.keys = tuple(keys)


class UnknownKeyError(ConfigError):
    """No such key, or what is chosen takes no such option.

    Args:
      message: in one line.
      keys: the unknown ones.
      suggestion: the key that may be meant, or None.
    """

    def __init__(self, message: str = "", keys: Collection[str] = (), suggestion: str | None = None):
        super().__init__(message, keys)
        self.suggestion = suggestion


class DifferentRunError(ConfigError):
    """The run directory holds a run of another config; `keys` are those that differ."""


class InUseError(VidjaxError):
    """Another process is writing to the directory."""


class DivergedError(VidjaxError):
    """Numbers of a training are not finite."""


class ExportError(VidjaxError):
    """A network cannot be exported, or the file does not compute what the network does."""


class DataError(VidjaxError):
    """A data source is incomplete or contradicts itself; the message names the file or class."""


class MissingFileError(DataError):
    """A file that the data source needs is not there."""


class EmptyPartError(DataError):
    """The train, validation or test part has no videos."""


class DuplicateError(DataError):
    """A video, file or name is listed twice."""


class LeakError(DataError):
    """Two parts share a video, a file or a group."""


class _OfOptionsError(VidjaxError):
    """Names options without their section of the config, which the code that raises it does not know.

    Args:
      text: with each option in braces, e.g. "{crop}=3 does not fit into {size}=2".
      fields: the options in braces; other braces are left alone, since user input may contain some.
    """

    def __init__(self, text: str, fields: Collection[str] = ()):
        super().__init__(text)
        self.text, self.fields = text, tuple(fields)

    def __str__(self) -> str:
        return self.within("")

    def within(self, section: str) -> str:
        """The message, with keys of a section for the options: "data.crop=3 does not fit into data.size=2"."""
        text = self.text
        for field in self.fields:
            text = text.replace(f"{{{field}}}", f"{section}.{field}" if section else field)
        return text


class OptionError(_OfOptionsError, ConfigError):
    """Options contradict each other or what they are for."""

    def __init__(self, text: str, fields: Collection[str] = ()):
        super().__init__(text, fields)
        self.keys = self.fields


class OptionDataError(_OfOptionsError, DataError):
    """An option names something that is not there, or is something else."""


@contextlib.contextmanager
def options_of(section: str) -> Iterator[None]:
    """Turns the options that errors name into keys of a section of the config.

    Raises:
      ConfigError, DataError: instead of an `OptionError` or `OptionDataError`.
    """
    try:
        yield
    except OptionError as error:
        raise ConfigError(error.within(section), [f"{section}.{field}" for field in error.fields]) from error
    except OptionDataError as error:
        raise DataError(error.within(section)) from error


class VideoError(DataError):
    """A video file cannot be read. Pickles both ways, so it may cross process borders.

    Args:
      path: the file, or its description; shown as text.
      reason: what is wrong with it, in one line.
    """

    def __init__(self, path: object, reason: str):
        super().__init__(str(path), reason)
        self.path = str(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{printable(self.path)}: {printable(self.reason)}"


def printable(name: str) -> str:
    """A name, or a reason that contains one, escaped if it has characters that cannot be printed on one line."""
    return name if name.isprintable() else ascii(name)
