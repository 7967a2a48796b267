"""The shapes in the signatures of layers, models and losses are checked in every test (`conftest`, `shape_checks`)."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from vidjax import models
from vidjax.layers.capsules import route
from vidjax.layers.dropout import Dropout
from vidjax.layers.recurrent import LSTM
from vidjax.models import Output
from vidjax.training.losses import cross_entropy

PACKAGE = Path(__file__).resolve().parent.parent / "vidjax"
MODULES = [*(PACKAGE / "models").rglob("*.py"), *(PACKAGE / "layers").rglob("*.py"), PACKAGE / "training" / "losses.py"]


WRONG = {
    "number of axes": lambda: LSTM(3).init(jax.random.key(0), jnp.zeros((2, 4))),
    "axis that two arguments share": lambda: route(jnp.zeros((2, 5, 3)), jnp.zeros((5, 4, 6, 7)), 1),
    "axis of argument and result": lambda: cross_entropy(Output(jnp.zeros((4, 1, 3))), jnp.zeros(1, jnp.int32)),
    "type": lambda: Dropout(0.5).apply({}, jnp.zeros((2, 3)), jnp.zeros(2), train=False),
    "model": lambda: models.create("c3d_small", 3).init(jax.random.key(0), rgb=jnp.zeros((1, 8, 32, 32))),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_other_shapes_than_the_signature_says_are_refused(call):
    with pytest.raises(TypeCheckError):
        call()


def test_shapes_that_fit_are_taken():
    assert cross_entropy(Output(jnp.zeros((4, 1, 3))), jnp.zeros(4, jnp.int32)).shape == (4,)


def test_signatures_state_the_shapes_of_their_arrays():
    """Of public functions, and of what calls a module."""
    found = []
    for path in MODULES:
        tree = ast.parse(path.read_text())
        functions = [*tree.body, *(item for node in tree.body if isinstance(node, ast.ClassDef) for item in node.body)]
        for function in functions:
            if not isinstance(function, ast.FunctionDef):
                continue
            if function.name.startswith("_") and function.name != "__call__":
                continue
            arguments = [*function.args.args, *function.args.kwonlyargs]
            hints = [each.annotation for each in arguments if each.annotation] + [function.returns]
            if any(ast.unparse(hint).split(" | ")[0] in ("jax.Array", "Array") for hint in hints if hint):
                found.append(f"{path.relative_to(PACKAGE)}: {function.name}")
    assert found == []
