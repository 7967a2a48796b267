"""Every primitive that has a rule gives JAX's values in ONNX Runtime; one without is refused by its name."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from tests import random_variables
from tests.inference.export import programs
from tests.refusals import refused
from vidjax.errors import ExportError
from vidjax.inference.export import onnx_export
from vidjax.inference.export.jaxpr_to_onnx import conversion
from vidjax.inference.export.jaxpr_to_onnx.elementwise import ELEMENTWISE
from vidjax.inference.export.jaxpr_to_onnx.graph import Graph

KERNEL = random_variables.normal((3, 3, 4, 6), 1)
GROUPED = random_variables.normal((3, 3, 2, 6), 2)
DEPTHWISE = random_variables.normal((3, 3, 1, 4), 3)
WEIGHTS = random_variables.normal((4, 5), 4)
NHWC = ("NHWC", "HWIO", "NHWC")


def conv(kernel, strides=(1, 1), padding="SAME", groups=1, dilation=(1, 1)):
    def function(x):
        return lax.conv_general_dilated(x, kernel, strides, padding, None, dilation, NHWC, feature_group_count=groups)

    return function


ELEMENTS = {
    "arithmetic": lambda x: (x + 2) * x - x / (1 + x * x),
    "powers": lambda x: jnp.abs(x) ** 0.5 + x**2 + x**3 + lax.rsqrt(1 + jnp.abs(x)) + jnp.exp2(x),
    "logarithms": lambda x: jnp.log(1 + jnp.abs(x)) + jnp.log1p(jnp.abs(x)) + jnp.expm1(x) + jnp.sqrt(jnp.abs(x)),
    "activations": lambda x: jax.nn.sigmoid(x) + jnp.tanh(x) + jax.nn.relu6(4 * x) + jax.nn.silu(x) + jax.nn.elu(x),
    "gelu": lambda x: jax.nn.gelu(x) + jax.nn.gelu(x, approximate=False) + lax.erf(x) + lax.erfc(x),
    "softmax": lambda x: jax.nn.softmax(x, axis=-1) + jax.nn.log_softmax(x, axis=1) + jax.nn.softplus(x),
    "waves": lambda x: jnp.sin(x) + jnp.cos(x),
    "rounding": lambda x: jnp.floor(3 * x) + jnp.ceil(3 * x) + jnp.round(5 * x) + jnp.sign(x) + lax.rem(3 * x, 0.7),
    "limits": lambda x: jnp.clip(x, -0.5, 0.5) + jnp.maximum(x, 0.1) + jnp.minimum(x, x[:, :1]) - -x,
    "comparisons": lambda x: sum(
        jnp.where(condition, x, number)
        for number, condition in enumerate([x > 0, x >= 0.5, x < -0.5, x <= 1, x == x[:, :1], x != x[:, :1]])
    ),
    "logic": lambda x: jnp.where(((x > 0) & (x < 1)) | ~(x > -1) ^ jnp.isfinite(x), 1.0, x),
    "saturation": lambda x: sum((300 * x).astype(kind).astype(jnp.float32) for kind in (jnp.int8, jnp.uint8)),
    "larger of bools": lambda x: (jnp.maximum(x > 0, x > 1) ^ jnp.minimum(x > -1, x < 1)).astype(jnp.float32),
    "integers": lambda x: (x.astype(jnp.int32) % 3 + (x > 0).astype(jnp.int32) & 5 | ~2).astype(jnp.float32),
}
SHAPES = {
    "merged": lambda x: x.reshape(x.shape[0] * 3, -1).reshape(x.shape[0], 3, 2, 2, 4).mean(axis=2),
    "moved": lambda x: jnp.moveaxis(x, 0, 2)[..., None].squeeze(-1).swapaxes(0, 2),
    "joined": lambda x: jnp.concatenate([x, x[:, ::-1], jnp.stack([x[:, 0], x[:, 2]], axis=1)], axis=1),
    "split": lambda x: jnp.split(x, 2, axis=-1)[1] * jnp.split(x, [1, 3], axis=2)[1][..., :2].sum(2, keepdims=True),
    "padded": lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 0), (0, 1)), constant_values=2.0),
    "reduced": lambda x: x.sum(axis=(1, 2)) + x.max(axis=(1, 2)) - x.min(axis=(1, 2)) * (x / 3).prod(axis=(1, 2)),
    "any": lambda x: ((x > 1).any(axis=1) | (x > -1).all(axis=1)).astype(jnp.float32),
    "positions": lambda x: (jnp.argmax(x, axis=-1) + 10 * jnp.argmin(x, axis=1)[:, None, :, 0]).astype(jnp.float32),
    "counted": lambda x: jnp.cumsum(x, axis=1) + jnp.arange(4.0) * lax.cumsum(x, axis=2, reverse=True),
    "numbered": lambda x: x * jnp.arange(x.shape[0]).astype(jnp.float32)[:, None, None, None],
    "filled": lambda x: jnp.full(x.shape, 2.0) + jnp.ones((x.shape[0], 1, 1, 4)) @ jnp.ones((4, 4)),
    "slices": lambda x: x[:, 1:, ::2, 1:3] + x[:, :2, 1:3, -2:],
    "one of an axis": lambda x: x[:, 1] + x[:, -1] + x[:, 0, 2, None],
    "strides": lambda x: x[:, ::2, 1, 1:] + x[:, 1, 1:3, :-1] * x[:, -1:, ::-3, 1:].sum(2),
    "by number": lambda x: x[:, np.array([0, 2, 1, 1])] + jnp.take(x, np.array([3, 0]), axis=3).sum(-1)[:, :1, None],
    "by one number": lambda x: x[:, np.array([1])] + x[:, :, np.array([[2], [0]])].sum((2, 3))[:, :, None],
    "by computed numbers": lambda x: x.mean() * 0 + jnp.asarray(WEIGHTS)[jnp.argmax(x, axis=-1)],
    "frames of a clip": lambda x: lax.dynamic_slice_in_dim(x, jnp.int32(5), 2, axis=1),
}
CONTRACTIONS = {
    "product": lambda x: x @ WEIGHTS,
    "of all": lambda x: x.reshape(x.shape[0], -1) @ random_variables.normal((48, 7), 5),
    "from the left": lambda x: jnp.einsum("fd,btxf->tdbx", WEIGHTS.T[:4], x).transpose(2, 0, 1, 3),
    "of two axes": lambda x: jnp.einsum("btxc,txd->bcd", x, random_variables.normal((3, 4, 5), 6)),
    "to one number": lambda x: jnp.einsum("btxc,btxc->b", x, x),
    "attention": lambda x: jnp.einsum("bts,bsxc->btxc", jax.nn.softmax(jnp.einsum("btxc,bsxc->bts", x, x) / 8), x),
    "convolution": conv(KERNEL),
    "strides": conv(KERNEL, (2, 1), [(0, 1), (2, 0)]),
    "dilation": conv(KERNEL, padding="VALID", dilation=(1, 1)),
    "dilated": conv(KERNEL, dilation=(2, 1)),
    "groups": conv(GROUPED, groups=2),
    "depthwise": conv(DEPTHWISE, (2, 2), groups=4),
}
MIXING = {
    "maximum": lambda x: x - x.max(axis=0) + jnp.zeros((x.shape[0] * 2, 1, 1, 1)).reshape(-1, 2, 1, 1).sum(1)[:, None],
    "mean": lambda x: x - x.mean(axis=0),
    "products": lambda x: jnp.einsum("atc,btc->ab", x[:, :, 0], x[:, :, 1]),
    "computed window": lambda x: lax.dynamic_slice_in_dim(
        x, 9 * (x[:, 0, 0, 0] > 0).any().astype(jnp.int32), 2, axis=1
    ),
}
POOLS = {
    "max": lambda x: nn.max_pool(x, (2, 2), (2, 2), "SAME"),
    "max over one axis": lambda x: nn.max_pool(x, (3, 1), (1, 1), "SAME"),
    "mean": lambda x: nn.avg_pool(x, (2, 3), (1, 1), "VALID"),
    "mean with padding": lambda x: nn.avg_pool(x, (3, 3), (2, 2), "SAME"),
    "mean without padding": lambda x: nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False),
    "of frames": lambda x: nn.max_pool(jnp.stack([x, -x], 1), (1, 3, 3), (1, 2, 2), [(0, 0), (1, 1), (1, 0)]),
    "of channels": lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 1, 1, 3), (1, 1, 1, 1), "SAME"),
    "of nothing": lambda x: nn.max_pool(x, (1, 1), (1, 1)),
}


# Kind -> its programs, the shape of an example, and how far the file may be from JAX.
BY_EXAMPLE = {
    "elements": (ELEMENTS, (3, 4, 4), 2e-6),
    "arrangements": (SHAPES, (3, 4, 4), 2e-6),
    "products and convolutions": (CONTRACTIONS, (3, 4, 4), 5e-6),
    "pooling": (POOLS, (5, 6, 4), 2e-6),
}


@pytest.mark.parametrize("kind, name", [(kind, name) for kind, (table, *_) in BY_EXAMPLE.items() for name in table])
def test_each_example_by_itself(kind, name, tmp_path):
    table, shape, tolerance = BY_EXAMPLE[kind]
    assert programs.onnx_difference(programs.of(table[name], shape), tmp_path / "a.onnx") < tolerance


@pytest.mark.parametrize("name", MIXING)
def test_over_the_batch(name, tmp_path):
    assert programs.mixing_difference(programs.of(MIXING[name], (3, 4, 4)), tmp_path / "a.onnx") < 5e-6


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_is_unrolled(reverse, tmp_path):
    def function(x):
        def step(carry, now):
            carry = jnp.tanh(carry @ WEIGHTS[:, :4] + now)
            return carry, (carry, now * 2, jnp.ones(3))

        start = jnp.zeros((x.shape[0], 4))
        last, (states, doubled, ones) = lax.scan(step, start, jnp.moveaxis(x, 1, 0), reverse=reverse)
        return jnp.moveaxis(states + doubled, 0, 1) + last[:, None] + ones.sum()

    assert programs.onnx_difference(programs.of(function, (6, 4)), tmp_path / "a.onnx") < 2e-6


def test_several_inputs_of_other_types(tmp_path):
    pair = programs.of(
        lambda x, y: x.astype(jnp.float32) / 255 + y.max(axis=-1).astype(jnp.float32), (3, 4), (3, 4, 2), dtype=np.uint8
    )
    assert programs.onnx_difference(pair, tmp_path / "a.onnx") < 2e-6


REFUSED = {
    "sort": (lambda x: jnp.sort(x), ["sort"]),
    "while": (lambda x: lax.while_loop(lambda y: y.sum() < 1, lambda y: y + 1, x), ["while"]),
    "lhs_dilation": (
        lambda x: lax.conv_general_dilated(x, KERNEL, (1, 1), [(1, 1), (1, 1)], (2, 2), (1, 1), NHWC),
        ["conv_general_dilated", "lhs_dilation=(2, 2)"],
    ),
    "padding": (conv(KERNEL, padding=[(-1, 0), (0, 0)]), ["conv_general_dilated", "padding=((-1, 0), (0, 0))"]),
    "interior": (lambda x: lax.pad(x, 0.0, [(0, 0, 0)] * 3 + [(0, 0, 1)]), ["pad"]),
    "window": (
        lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "VALID", window_dilation=(1, 2, 1, 1)),
        ["reduce_window_sum", "window_dilation=(1, 2, 1, 1)"],
    ),
    "padded by a window": (lambda x: nn.avg_pool(x, (2, 2), padding=[(2, 0), (0, 0)]), ["reduce_window_sum", "(2, 0)"]),
    "largest of bools": (lambda x: jnp.max(x > 0, axis=1), ["ReduceMax", "tensor(bool)"]),
    "numbers": (lambda x: nn.max_pool(x.astype(jnp.int32), (2, 2)), ["int32"]),
    "cases": (lambda x: lax.select_n(x.astype(jnp.int32), x, -x, 2 * x), ["select_n"]),
    "computed and filled": (
        lambda x: jnp.take(WEIGHTS, jnp.argmax(x, -1), axis=0, mode="fill"),
        ["gather", "mode=fill"],
    ),
    "two axes": (lambda x: x[:, np.array([0, 1]), np.array([1, 0])], ["gather"]),
    "bfloat16": (lambda x: (x.astype(jnp.bfloat16) * 2).astype(jnp.float32), ["bfloat16"]),
    "the first example": (lambda x: x - x[0], ["batch - 1"]),
    "size": (lambda x: jnp.zeros((x.shape[0] // 2 + 1,)) + x.sum(), ["ONNX"]),
    "random": (lambda x: x + jax.random.normal(jax.random.key(0), x.shape), ["key<fry>"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_refused_by_name(name):
    function, tokens = REFUSED[name]
    pytest.importorskip("onnx", reason="needs requirements-export.txt")
    with refused(ExportError, *tokens):
        onnx_export.serialize(programs.of(function, (3, 4, 4)), programs.CARD)


def test_the_module_of_a_refusal_is_named():
    class Sorting(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.sort(nn.Dense(3, name="fc")(x))

    pytest.importorskip("onnx", reason="needs requirements-export.txt")
    with refused(ExportError, "sort", "Sorting"):
        onnx_export.serialize(programs.of_module(Sorting(), 4), programs.CARD)


def converted(function, *shapes):
    """The nodes and constants of a function."""
    (batch,) = export.symbolic_shape("batch")
    program = programs.of(function, *shapes)
    specs = program.specs(batch)
    graph = Graph(batch, "x")
    return graph.kept(conversion.convert(graph, jax.make_jaxpr(program.function)({}, specs), list(specs)))


def test_what_no_output_depends_on_is_left_out():
    nodes, constants = converted(lambda x: (x + 1, jnp.sort(x), x @ WEIGHTS)[0], (4,))
    assert [node.op for node in nodes] == ["Add"] and len(constants) == 1


def test_constants_are_computed_at_export_and_stored_once_unbroadcast():
    scale = np.arange(4, dtype=np.float32)

    def function(x):
        return [x := x * (jnp.exp(scale) / (1 + jnp.sum(scale))) for _ in range(3)][-1]

    nodes, constants = converted(function, (50, 60, 4))
    assert [node.op for node in nodes] == ["Mul"] * 3
    (factor,) = constants.values()
    assert factor.shape == (1, 1, 1, 4)
    np.testing.assert_allclose(factor.ravel(), np.exp(scale) / 7, rtol=1e-6)


def test_rules_of_elements_have_the_names_of_primitives():
    known = {name.removesuffix("_p") for name in dir(jax.extend.core.primitives)}
    assert ELEMENTWISE.keys() - known <= {"add_any", "copy", "copy_p"}
