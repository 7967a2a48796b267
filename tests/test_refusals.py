"""The check of errors that all tests use."""

import ast
import re
from pathlib import Path

import pytest

from tests.refusals import refused, unnamed
from vidjax.errors import ConfigError, DataError

TEXT = "data/a-b.csv:7: data.crop_position='top' is 1.5, not -3 or (4, 6); see --config.data.size=12."


@pytest.mark.parametrize(
    "token", ["data/a-b.csv", "a-b.csv", "a-b.csv:7", "data.crop_position", "'top'", "1.5", "(4, 6)", 12, "-3", 6]
)
def test_whole_tokens_are_found(token):
    assert unnamed(TEXT, token) == []


@pytest.mark.parametrize(
    "token", ["data.crop", "crop_position", "b.csv", "a-b", "1", "5", 3, 2, "data.size", "config.data", "(4, 6]", "op"]
)
def test_parts_of_longer_words_are_not(token):
    assert unnamed(TEXT, "1.5", token) == [str(token)]


def test_prose_is_no_token():
    for prose in ("is missing", "give at least", "holds a run, or", ""):
        with pytest.raises(ValueError, match="prose"):
            unnamed("", prose)
    assert unnamed("is 'a b', not one of a, b", "'a b'", "a, b") == []


def test_the_error_is_of_the_class_and_names_the_tokens_in_one_line():
    def of(error, *tokens):
        with refused(ConfigError, *tokens) as caught:
            raise error
        assert caught.value is error

    of(ConfigError("a=1 is not b"), "a=1", "b")
    for error in (ConfigError("ab=1"), ConfigError("a=1\nand more")):
        with pytest.raises(pytest.fail.Exception):
            of(error, "a=1")
    with pytest.raises(DataError):
        of(DataError("a=1"), "a=1")
    with pytest.raises(pytest.fail.Exception), refused(ConfigError):
        pass


def _sentences(path):
    """The `match=` of a test file that hold two words with a space between, or that are no literal."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "match":
            parts = node.value.values if isinstance(node.value, ast.JoinedStr) else [node.value]
            texts = [part.value for part in parts if isinstance(part, ast.Constant)]
            if len(texts) < len(parts) or any(re.search(r"[a-z'] +[a-z]", text) for text in texts):
                yield f"{path.name}:{node.value.lineno}"


def test_no_test_matches_a_sentence(tmp_path):
    (tmp_path / "a.py").write_text('raises(match="is missing")\nraises(match=text)\nraises(match="data.crop")\n')
    assert list(_sentences(tmp_path / "a.py")) == ["a.py:1", "a.py:2"]
    assert [found for path in sorted(Path(__file__).parent.rglob("*.py")) for found in _sentences(path)] == []
