"""What is refused before anything is decoded, and how a decoder's error is worded."""

import os
import stat

from vidjax.errors import VideoError

# A frame of 8K cinema has 8192 x 4320; a small file that claims more is meant to fill the memory.
MAX_PIXELS = 8192 * 4320


def check_pixels(path: str, height: int, width: int) -> None:
    """Refuses frames of an implausible size.

    Raises:
      VideoError: naming their size.
    """
    if height * width > MAX_PIXELS:
        raise VideoError(path, f"has frames of {width} x {height} pixels; more than {MAX_PIXELS / 1e6:.0f} million")


def check_regular_file(path: str) -> os.stat_result:
    """Refuses what is not a regular file before it is opened: opening a FIFO blocks forever.

    Raises:
      VideoError: saying what it is.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise VideoError(path, getattr(error, "strerror", None) or one_line(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise VideoError(path, "is not a regular file")
    if status.st_size == 0:
        raise VideoError(path, "is empty (0 bytes)")
    return status


def one_line(error: BaseException) -> str:
    """The message of a decoder's exception without its path and stack: at most 200 characters of one line."""
    message = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return message.splitlines()[0][:200]
