"""Errors that the user can mend. Each is one line; the mains show it without a traceback."""


class VidjaxError(Exception):
    """Base of everything that vidjax refuses with a sentence instead of a traceback."""


class ConfigError(VidjaxError):
    """A config, a flag or an option is wrong; the message names the key and what is accepted."""


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
