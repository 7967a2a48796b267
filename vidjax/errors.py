"""Errors that the user can mend. Each is one line; the mains show it without a traceback."""

import contextlib
from collections.abc import Collection, Iterator


class VidjaxError(Exception):
    """Base of everything that vidjax refuses with a sentence instead of a traceback."""


class ConfigError(VidjaxError):
    """A config, a flag or an option is wrong; the message names the key and what is accepted."""


class DivergedError(VidjaxError):
    """Numbers of a training are not finite."""


class DataError(VidjaxError):
    """A data source is incomplete or contradicts itself; the message names the file or class."""


class _OfOptionsError(VidjaxError):
    """Names options without the section of the config that they are in, which who raises it does not know.

    Args:
      text: with each option in braces, e.g. "{crop}=3 does not fit into {size}=2".
      fields: the options that stand in braces; other braces stay, since what users have typed may have some.
    """

    kind: type[VidjaxError]

    def __init__(self, text: str, fields: Collection[str]):
        super().__init__(text, tuple(fields))
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

    kind = ConfigError


class OptionDataError(_OfOptionsError, DataError):
    """An option names something that is not there, or is something else."""

    kind = DataError


@contextlib.contextmanager
def options_of(section: str) -> Iterator[None]:
    """Makes the options that errors name keys of a section of the config.

    Raises:
      ConfigError, DataError: in the place of an `OptionError` and an `OptionDataError`.
    """
    try:
        yield
    except (OptionError, OptionDataError) as error:
        raise error.kind(error.within(section)) from error


class VideoError(DataError):
    """A video file cannot be read. Pickles both ways, so it may cross process borders.

    Args:
      path: the file, or what stands for it; shown as text.
      reason: what is wrong with it, in one line.
    """

    def __init__(self, path: object, reason: str):
        super().__init__(str(path), reason)
        self.path = str(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{printable(self.path)}: {printable(self.reason)}"


def printable(name: str) -> str:
    """A name, or a reason that names one, on one line, whatever a file is called."""
    return name if name.isprintable() else ascii(name)
