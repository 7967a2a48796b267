"""What oneDNN computes in another form has XLA's values; where that is done depends on shapes alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import random_variables
from vidjax.layers.convolution_primitives import native
from vidjax.layers.cpu.geometry import ConvolutionGeometry
from vidjax.layers.cpu.onednn import folding
from vidjax.layers.cpu.onednn.folding import Folding, Turned, in_another_form
from vidjax.layers.cpu.onednn.plans import Request

OPERANDS = {"y": ("x", "kernel"), "x": ("kernel", "y"), "kernel": ("x", "y")}


def request(computed, x, kernel, strides, padding, dilation=None, groups=1):
    dilation = dilation or (1,) * len(strides)
    geometry = ConvolutionGeometry(strides, padding, dilation, groups)
    reaches = [step * (extent - 1) + 1 for step, extent in zip(dilation, kernel)]
    y = [(n + sum(p) - reach) // s + 1 for n, p, reach, s in zip(x[1:], padding, reaches, strides)]
    return Request(computed, geometry, x, kernel, (x[0], *y, kernel[-1]))


STEM = (2, 8, 14, 14, 3), (5, 3, 3, 3, 4), (1, 2, 2), ((2, 2), (1, 1), (1, 1))
CASES = [
    ("y", *STEM),
    ("kernel", *STEM),
    ("y", (2, 12, 9, 9, 4), (3, 3, 3, 4, 8), (2, 2, 1), ((1, 1), (0, 1), (2, 2))),
    ("kernel", (2, 12, 9, 9, 4), (3, 3, 3, 4, 8), (2, 2, 1), ((1, 1), (0, 1), (2, 2))),
    ("y", (2, 14, 9, 3), (3, 3, 3, 1), (1, 1), ((0, 4), (1, 2)), (1, 2)),
    ("x", (2, 8, 9, 9, 4), (3, 3, 3, 4, 24), (1, 1, 1), ((1, 1), (0, 1), (2, 0))),
    ("x", (2, 8, 9, 4), (4, 3, 4, 24), (1, 1), ((2, 1), (1, 3)), (1, 2)),
]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Small convolutions are taken for ones that are worth it."""
    monkeypatch.setattr(folding, "_MIN_PRODUCTS", 0)
    monkeypatch.setattr(folding, "_MIN_PRODUCTS_OF_EACH", 0)


def compute(request, *operands):
    return native(request.computed, request.geometry, getattr(request, request.computed))(*operands)


@pytest.mark.parametrize("case", CASES)
def test_values(case):
    given = request(*case)
    operands = [
        jnp.asarray(random_variables.normal(getattr(given, name), n)) for n, name in enumerate(OPERANDS[given.computed])
    ]
    form = in_another_form(given, 16)
    computed = []

    def noted(request, *arrays):
        computed.append(request)
        return compute(request, *arrays)

    with jax.default_matmul_precision("highest"):
        got, wanted = form.compute(noted, *operands), compute(given, *operands)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=3e-6 * float(abs(wanted).max()))
    (instead,) = computed
    assert instead != given and instead.products >= given.products
    assert in_another_form(instead, 16) is None or isinstance(form, Turned)
    if isinstance(form, Folding):
        assert instead.kernel[-1] == form.steps * given.kernel[-1] <= 16


def test_as_many_steps_as_fill_a_register():
    assert [in_another_form(request("y", *STEM), width).steps for width in (16, 8)] == [4, 2]
    assert in_another_form(request("y", (2, 6, 14, 14, 3), *STEM[1:]), 16).steps == 2  # 4 steps do not divide 6
    assert in_another_form(request("y", (2, 7, 14, 14, 3), *STEM[1:]), 16) is None


@pytest.mark.parametrize(
    "given",
    [
        request("y", (2, 8, 14, 14, 3), (5, 3, 3, 3, 16), *STEM[2:]),
        request("y", (2, 8, 14, 14, 3), (1, 3, 3, 3, 4), *STEM[2:]),
        request("y", *STEM, (2, 1, 1)),
        request("y", (2, 8, 14, 14, 4), (5, 3, 3, 1, 4), *STEM[2:], None, 4),
        request("x", *STEM),
        request("x", (2, 8, 9, 9, 4), (3, 3, 3, 4, 24), (1, 1, 1), ((3, 1), (1, 1), (1, 1))),
        request("x", (2, 8, 9, 9, 16), (3, 3, 3, 16, 4), (1, 1, 1), ((1, 1),) * 3),
    ],
)
def test_others_are_computed_as_they_are(given):
    assert in_another_form(given, 16) is None


def test_only_what_is_worth_it(monkeypatch):
    monkeypatch.undo()
    assert in_another_form(request("y", *STEM), 16) is None
    large = (2, 32, 112, 112, 3), (5, 7, 7, 3, 4), (1, 2, 2), ((2, 2), (3, 3), (3, 3))
    assert in_another_form(request("y", *large), 16).steps == 4
    few_products = (4, 16, 112, 112, 3), (3, 3, 3, 3, 8), (1, 1, 1), ((1, 1),) * 3
    assert in_another_form(request("y", *few_products), 16) is None
