"""Rooms below the config do not know the names of its keys: they name options, and who knows the section the keys."""

import ast
import re
from pathlib import Path

import pytest

from vidjax.config import declarations

PACKAGE = Path(__file__).resolve().parent.parent / "vidjax"
# `training/recipe.py` reads sections of the config; `reporting` tells the user what to type.
ROOMS = ("data", "models", "layers", "preprocessing", "evaluation", "training")
EXCEPTIONS = {PACKAGE / "training" / "recipe.py"}


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
        for path in sorted({*(PACKAGE / room).rglob("*.py")} - EXCEPTIONS)
        for text, line in texts_of(path)
        if re.search(rf"(?<!\w)({keys})(?!\w)", text)
    ]
    assert found == []
