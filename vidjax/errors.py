"""Errors that the user can mend. Each is one line; the mains show it without a traceback."""

import contextlib
from collections.abc import Collection, Iterator


class VidjaxError(Exception):
    """Base of everything that vidjax refuses with a sentence instead of a traceback."""


class ConfigError(VidjaxError):
    """A config, a flag or an option is wrong; the message names the key and what is accepted."""


class OptionError(ConfigError):
    """Options do not fit each other or what they are for; who raises it does not know in which section they are.

    Args:
      text: with each field in braces, e.g. "{crop}=3 does not fit into {size}=2".
      fields: those that stand in braces.
    """

    def __init__(self, text: str, fields: Collection[str]):
        super().__init__(text, tuple(fields))
        self.text, self.fields = text, tuple(fields)

    def __str__(self) -> str:
        return self.within("")

    def within(self, section: str) -> str:
        """The message, with the keys of a section for the fields: "data.crop=3 does not fit into data.size=2"."""
        text = self.text
        for field in self.fields:  # not str.format: what users have typed may have braces, too
            text = text.replace(f"{{{field}}}", f"{section}.{field}" if section else field)
        return text


@contextlib.contextmanager
def options_of(section: str) -> Iterator[None]:
    """Says of options that do not fit which keys of the config they are.

    Raises:
      ConfigError: in the place of an `OptionError`.
    """
    try:
        yield
    except OptionError as error:
        raise ConfigError(error.within(section)) from error


class DataError(VidjaxError):
    """A data source is incomplete or contradicts itself; the message names the file or class."""


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
