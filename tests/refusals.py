"""How tests look at errors: by their class and by what they name, so that sentences can be rewritten."""

import contextlib
import re
from collections.abc import Iterator

import pytest

# Words with nothing but spaces between some; an enumeration, "a, b", and a quoted value, "'a b'", are none.
_PROSE = re.compile(r"(?!['`]).*[A-Za-z] [A-Za-z].*")
_WORDS = re.compile(r"[A-Za-z ,;:'`.-]+")


def is_prose(token: str) -> bool:
    """Whether a token is words of a sentence, or nothing: without a digit, a slash or the like."""
    return not token or bool(_PROSE.fullmatch(token) and _WORDS.fullmatch(token))


def unnamed(text: str, *tokens: object) -> list[str]:
    """Returns those of the tokens that a text does not name as a whole: "data.crop" is not in "data.crop_position".

    Args:
      text: a message, or what a program has printed.
      tokens: keys, options, files, classes, numbers, values or shapes; as `str` shows them.

    Raises:
      ValueError: for a token that is words of a sentence.
    """
    words = [str(token) for token in tokens]
    for word in words:
        if is_prose(word):
            raise ValueError(f"{word!r} is prose: give a key, a file, a number or a value")
    return [word for word in words if not re.search(_as_a_whole(word), text)]


def _as_a_whole(word: str) -> str:
    before = r"(?<!\w)(?<!\w[.-])" if re.match(r"\w", word) else ""
    before += r"(?<![.-])" if word[0].isdigit() else ""  # the 1 in -1 and in .1 is another number
    after = r"(?!\w)(?![.-]\w)" if re.search(r"\w$", word) else ""
    return before + re.escape(word) + after


@contextlib.contextmanager
def refused(
    error_class: type[BaseException] | tuple[type[BaseException], ...], *tokens: object
) -> Iterator[pytest.ExceptionInfo]:
    """Like `pytest.raises`: what is inside raises that error, in one line that names each token as a whole.

    Args:
      error_class: of the error.
      tokens: as for `unnamed`.

    Yields:
      The information on the error, once it is raised.
    """
    __tracebackhide__ = True
    with pytest.raises(error_class) as caught:
        yield caught
    message = str(caught.value)
    if len(message.splitlines()) > 1:
        pytest.fail(f"not one line: {message!r}")
    if missing := unnamed(message, *tokens):
        pytest.fail(f"{', '.join(missing)}: not named in {message!r}")
