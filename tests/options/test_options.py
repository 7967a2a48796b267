"""What is chosen by name declares its options: types, ranges, words and help, from one place."""

import functools
import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import flax.linen as nn
import pytest

from tests.refusals import refused
from vidjax.errors import ConfigError, UnknownKeyError
from vidjax.options import choosing, declaring, signatures
from vidjax.options.declaring import Option, declared_options

SHARE = Option("a share", at_least=0, below=1)


class Net(nn.Module):
    num_classes: int
    dropout: Annotated[float, SHARE] = 0.5
    kind: Annotated[str, Option("which", choices=("one", "two"))] = "one"
    blocks: Sequence[int] = (1, 2)
    dtype: Any = None


def own(classes, *, hidden=64, rate: float = 0.5, root, sides: tuple[int, ...] = (1,), call=len, dtype: Any = None): ...


def test_only_what_carries_an_option_is_a_key():
    found = declared_options(Net)
    assert list(found) == ["dropout", "kind"]
    assert found["dropout"] == declaring.OptionSpec("dropout", (float,), 0.5, SHARE)


def test_a_factory_of_ones_own_also_has_its_plain_parameters():
    found = declared_options(own, is_custom=True)
    types = {name: key.types for name, key in found.items()}
    assert types == {"hidden": (int,), "rate": (float,), "root": (object,), "sides": (tuple,)}
    assert found["root"].required and not found["hidden"].required
    assert declared_options(own) == {}


def test_a_partial_has_the_annotations_of_its_function_and_its_own_defaults():
    found = declared_options(functools.partial(functools.partial(Net, dropout=0.1), kind="two"))
    assert (found["dropout"].default, found["kind"].default) == (0.1, "two")
    assert found["dropout"].option is SHARE


def test_options_may_stand_on_one_side_of_a_union():
    def build(*, a: Annotated[int | None, SHARE] = None, b: Annotated[float, SHARE] | None = None): ...

    assert {name: (key.types, key.option) for name, key in declared_options(build).items()} == {
        "a": ((int,), SHARE),
        "b": ((float,), SHARE),
    }


def test_annotations_that_are_text_are_evaluated_or_the_default_says_the_type(tmp_path, monkeypatch):
    text = """
from __future__ import annotations
from typing import Annotated
from vidjax.options import Option

def build(classes, *, hidden: Annotated[int, Option("units")] = 3):
    pass

def lost(classes, *, hidden: NotThere = 3, other: NotThere = None):
    pass
"""
    (tmp_path / "postponed_annotations.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    module = __import__("postponed_annotations")
    assert declared_options(module.build)["hidden"].option == Option("units")
    assert declared_options(module.lost, is_custom=True)["hidden"].types == (int,)


@pytest.mark.parametrize(
    "bounds, fine, wrong",
    [
        ({"at_least": 1}, 1, 0),
        ({"at_least": 0}, 0.0, -1.0),
        ({"above": 0}, 0.1, 0.0),
        ({"at_least": 0, "below": 1}, 0.0, 1.0),
        ({"above": 0, "below": 1}, 0.5, 0.0),
        ({"above": 0, "at_most": 1}, 1.0, 0.0),
        ({"at_least": 0, "at_most": 1}, 1.0, 1.1),
        ({"at_most": 1}, -1.0, 1.1),
        ({"below": 1}, -1.0, 1.0),
        ({}, -3.0, float("nan")),
        ({"at_least": 0}, 1.0, float("inf")),
        ({"above": 0}, (1.0, 2.0), (1.0, 0.0)),
    ],
)
def test_ranges(bounds, fine, wrong):
    option = Option("help", **bounds)
    option.check("key", fine)
    with refused(ConfigError, f"key={wrong}", *bounds.values()):
        option.check("key", wrong)


def test_words():
    with refused(ConfigError, "model.kind='twoo'", "one, two", "'two'"):
        declared_options(Net)["kind"].option.check("model.kind", "twoo")


@pytest.mark.parametrize(
    "types, text, value",
    [
        ((int,), "1e3", 1000),
        ((int,), "10000000000000001", 10000000000000001),
        ((int,), "none", None),
        ((float,), "1", 1.0),
        ((float,), "-inf", float("-inf")),
        ((bool,), "True", True),
        ((bool,), "false", False),
        ((str,), "none", "none"),
        ((str,), "None", None),
        ((tuple,), "(0.5,)", (0.5,)),
        ((tuple,), "[1, 2]", (1, 2)),
        ((tuple,), "0.5", (0.5,)),
        ((float, tuple), "117", 117.0),
        ((float, tuple), "(123.7,116,103.5)", (123.7, 116.0, 103.5)),
        ((float, tuple), "inf", float("inf")),
        ((float,), "1e400", float("inf")),
        ((int, str), "3", 3),
        ((int, str), "wide", "wide"),
        ((int, str), "1.5", "1.5"),
        ((bool, int), "1", 1),
        ((bool, int), "true", True),
        ((bool, str), "maybe", "maybe"),
        ((object,), "3", 3),
        ((object,), "some text", "some text"),
    ],
)
def test_values_are_read_with_the_type_of_the_option(types, text, value):
    read = declaring.OptionSpec("key", types).read(text)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    "types, text",
    [
        ((int,), "many"),
        ((int,), "1.5"),
        ((int,), "inf"),
        ((bool,), "maybe"),
        ((tuple,), "(0.5"),
        ((float, tuple), "red"),
        ((float, tuple), "()"),
        ((float, tuple), "(1, (2, 3))"),
        ((tuple,), "{[]: 1}"),
        ((tuple,), "True"),
        ((object,), "{'a': 1}"),
        ((object,), "[1, {2}]"),
    ],
)
def test_values_that_cannot_be_read(types, text):
    with refused(ValueError, text):
        declaring.OptionSpec("key", types).read(text)


@pytest.mark.parametrize(
    "types, value, cast",
    [
        ((float,), 1, 1.0),
        ((int,), 1, 1),
        ((tuple,), [1, 2], (1, 2)),
        ((float, tuple), [1, 2], (1.0, 2.0)),
        ((object,), [1, 2], (1, 2)),
        ((bool,), True, True),
        ((int,), 1.0, None),
        ((int,), True, None),
        ((bool,), 1, None),
        ((str,), 1, None),
        ((float,), "1", None),
    ],
)
def test_values_of_files_are_cast_where_nothing_is_lost(types, value, cast):
    key = declaring.OptionSpec("key", types)
    if cast is None:
        with refused(ValueError, repr(value), types[0].__name__):
            key.cast(value)
    else:
        assert (key.cast(value), type(key.cast(value))) == (cast, type(cast))


def test_none_is_not_given_where_no_word_is_called_so():
    assert declaring.OptionSpec("key", (str,), option=Option("", choices=("last", "best"))).read("none") is None
    assert declaring.OptionSpec("key", (str,), option=Option("", choices=("none", "best"))).read("none") == "none"


def test_an_option_of_another_names_who_takes_it():
    table = {"net": Net, "wide": functools.partial(Net, dropout=0.1), "plain": own}
    with refused(UnknownKeyError, "'plain'", "'kind'", "net", "1"):
        choosing.build("model", table, "plain", 3, options={"kind": "one"})
    with refused(UnknownKeyError, "'net'", "'dropuot'", "'dropout'"):
        choosing.build("model", table, "net", 3, options={"dropuot": 0.5})
    with refused(ConfigError, "dropout=1.0", "0", "1"):
        choosing.build("model", table, "net", 3, options={"dropout": 1.0})


def test_a_factory_is_found_from_the_working_directory_behind_everything_else(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    (tmp_path / "factory_of_here.py").write_text("def build(classes):\n    return classes\n")
    (tmp_path / "json.py").write_text("raise RuntimeError\n")
    monkeypatch.chdir(tmp_path)
    assert choosing.resolve("model", {}, "", "factory_of_here:build")(3) == 3
    assert sys.path[-1] == str(tmp_path)


def test_literals_are_words():
    def build(
        classes, *, a: Literal["x", "y"] = "x", b: Annotated[Literal["x"] | None, SHARE] = None, c: Literal[1, 2] = 1
    ):
        return None

    found = declared_options(build, is_custom=True)
    assert {name: (key.types, key.option.choices) for name, key in found.items()} == {
        "a": ((str,), ("x", "y")),
        "b": ((str,), ("x",)),
        "c": ((int,), ()),
    }


def test_what_is_given_by_position_is_no_option():
    def build(classes=2, width=3, /, hidden=4, *, rate=0.5):
        return None

    assert signatures.accepted(build) == ("hidden", "rate")
    assert signatures.accepted(build, 3) == ("rate",) == tuple(declared_options(build, is_custom=True, positional=3))
    assert signatures.accepted(Net, 1) == ("dropout", "kind", "blocks", "dtype")


BROKEN = {
    "os:path": ("shape", "'os:path'", "module"),
    "math:pi": ("shape", "'math:pi'", "float"),
    "builtins:dict": ("'builtins:dict'",),
    "..:x": ("'..:x'", "'package.module:function'"),
    "os": ("'package.module:function'", "'os'", "''"),
    "broken_factory:x": ("broken_factory.py", "1"),
    "fine_factory:noarg": ("'fine_factory:noarg'", "1"),
    "fine_factory:two": ("'fine_factory:two'", "1", "'width'"),
}


@pytest.mark.parametrize("factory, tokens", BROKEN.items())
def test_factories_that_cannot_be_called_are_one_line(tmp_path, monkeypatch, factory, tokens):
    (tmp_path / "broken_factory.py").write_text("def (\n")
    (tmp_path / "fine_factory.py").write_text("def noarg(): ...\n\n\ndef two(classes, width, *, rate=1): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    with refused(ConfigError, *tokens):
        choosing.build("shape", {}, "", 3, factory=factory, options={"rate": None})


def test_a_factory_that_is_not_found_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused(ConfigError, "'not_there:build'", tmp_path):
        choosing.resolve("shape", {}, "", "not_there:build")


def test_an_option_that_a_factory_does_not_take_is_told_with_those_that_it_takes():
    with refused(UnknownKeyError, "'difflib:get_close_matches'", "'kind'", "n, cutoff"):
        choosing.build("model", {"net": Net}, "net", 3, factory="difflib:get_close_matches", options={"kind": "one"})


def test_an_error_of_the_code_of_a_factory_is_its_own(tmp_path, monkeypatch):
    (tmp_path / "failing_factory.py").write_text("len(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TypeError, match="len"):
        choosing.resolve("shape", {}, "", "failing_factory:build")
