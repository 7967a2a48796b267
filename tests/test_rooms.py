"""Rooms below the config do not know the names of its keys: they name options, and who knows the section the keys."""

import ast
import collections
import importlib
import re
from pathlib import Path

import flax.linen as nn
import pytest

from vidjax.config import declarations

PACKAGE = Path(__file__).resolve().parent.parent / "vidjax"
# Not `reporting`, which tells the user what to type.
ROOMS = ("options", "data", "models", "layers", "preprocessing", "evaluation", "training", "pretrained")


def texts_of(path):
    """The strings of a module but for its docstrings, and their lines."""
    tree = ast.parse(path.read_text())
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    documents = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, owners) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.value, node.lineno


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_names_a_key_of_the_config(room):
    keys = "|".join(re.escape(key) for key in declarations.known_keys() if "." in key)
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {text}"
        for path in sorted((PACKAGE / room).rglob("*.py"))
        for text, line in texts_of(path)
        if re.search(rf"(?<!\w)({keys})(?!\w)", text)
    ]
    assert found == []


def test_no_two_public_classes_have_one_name():
    """Modules of flax are left out: theirs are the names of the papers."""
    found = collections.defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(name)
    assert len(found) > 100
    twice = {name: modules for name, modules in found.items() if len(modules) > 1}

    def is_layer(name):
        classes = (getattr(importlib.import_module(module), name) for module in twice[name])
        return all(issubclass(each, nn.Module) for each in classes)

    assert not {name for name in twice if not is_layer(name)}, twice
