"""The convolution that a CPU gets is flax's: same parameters, same values, same gradients."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import random_variables
from vidjax.layers.convolution import Conv, convolution, native_operations
from vidjax.layers.cpu import conv2d
from vidjax.models import create


def difference(got, wanted):
    """The largest max|a - b| / max|b| over the leaves."""

    def of(a, b):
        assert a.shape == b.shape and a.dtype == b.dtype
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        return abs(a - b).max() / max(abs(b).max(), 1e-30)

    return max(jax.tree.leaves(jax.tree.map(of, got, wanted)))


def outcome(module, variables, x, weights):
    """Output, and the gradients in parameters and input of its sum by `weights`."""
    y, transposed = jax.vjp(module.apply, variables, x)
    return y, transposed(weights.astype(y.dtype))


_compiled = jax.jit(outcome, static_argnums=0)


class PaddedBeforehand(nn.Module):
    """`nn.Conv` without padding, of a padded input."""

    padding: tuple[tuple[int, int], ...]
    options: dict

    @nn.compact
    def __call__(self, x):
        x = jnp.pad(x, [(0, 0), *self.padding, (0, 0)])
        conv = nn.Conv(padding="VALID", **self.options)
        nn.share_scope(self, conv)
        return conv(x)


def compare(shape, dtype=jnp.float32, wrap=jax.jit, theirs=None, **options):
    """The difference between `Conv` and `nn.Conv`, or a module with its parameters, for an input of this shape."""
    ours, theirs = Conv(**options), theirs or nn.Conv(**options)
    x = random_variables.normal(shape, 0, dtype)
    shapes = [jax.eval_shape(module.init, jax.random.key(1), x) for module in (ours, theirs)]
    assert shapes[0] == shapes[1]
    variables = random_variables.like(shapes[0])
    weights = random_variables.normal(jax.eval_shape(theirs.apply, variables, x).shape, 2, dtype)
    got, wanted = (wrap(functools.partial(outcome, module))(variables, x, weights) for module in (ours, theirs))
    return difference(got, wanted)


GRID = {
    "2d": dict(shape=(2, 9, 8, 5), kernel_size=(3, 3)),
    "2d strided": dict(shape=(2, 9, 8, 5), kernel_size=(5, 3), strides=(2, 3)),
    "2d dilated": dict(shape=(2, 9, 8, 5), kernel_size=(3, 3), kernel_dilation=(2, 1)),
    "2d dilated and strided": dict(shape=(2, 9, 8, 5), kernel_size=(3, 3), strides=2, kernel_dilation=2),
    "2d asymmetric padding": dict(shape=(2, 9, 8, 5), kernel_size=(3, 3), strides=2, padding=((2, 0), (0, 3))),
    "2d transposed": dict(shape=(2, 5, 4, 5), kernel_size=(3, 3), input_dilation=2, padding=1),
    "2d of large images": dict(shape=(6, 100, 90, 12), kernel_size=(3, 3)),
    "2d of large images, strided and dilated": dict(
        shape=(6, 120, 110, 10), kernel_size=(3, 3), strides=2, kernel_dilation=2, padding=((1, 2), (0, 3))
    ),
    "large strided stem": dict(shape=(5, 114, 116, 3), kernel_size=(7, 7), strides=2, padding=3),
    "1d": dict(shape=(3, 9, 5), kernel_size=(4,), strides=2),
    "1d causal": dict(shape=(3, 9, 5), kernel_size=(3,), padding="CAUSAL"),
    "circular": dict(shape=(2, 6, 6, 5), kernel_size=(3, 3), padding="CIRCULAR"),
    "1x1": dict(shape=(2, 9, 8, 5), kernel_size=(1, 1)),
    "1x1 strided, padded": dict(shape=(2, 9, 8, 5), kernel_size=(1, 1), strides=2, padding=1),
    "3x3x3 of many channels": dict(shape=(2, 5, 6, 7, 40), kernel_size=(3, 3, 3)),
    "3x3x3 of few channels": dict(shape=(2, 5, 6, 7, 3), kernel_size=(3, 3, 3)),
    "3x3x3 of large images": dict(shape=(2, 8, 48, 46, 8), kernel_size=(3, 3, 3)),
    "2x3x3 of large images, dilated": dict(
        shape=(2, 8, 40, 38, 6),
        features=20,
        kernel_size=(2, 3, 3),
        kernel_dilation=(3, 1, 1),
        padding=((3, 1), 1, (0, 2)),
    ),
    "3x3x3 strided": dict(shape=(2, 5, 6, 7, 40), kernel_size=(3, 3, 3), strides=2),
    "3x3x3 of one frame": dict(shape=(2, 1, 6, 7, 40), kernel_size=(3, 3, 3)),
    "taps on padding alone": dict(shape=(1, 1, 6, 6, 40), kernel_size=(2, 3, 3), kernel_dilation=(2, 1, 1), padding=1),
    "3x3x3 dilated": dict(shape=(2, 7, 6, 7, 40), kernel_size=(3, 3, 3), kernel_dilation=2),
    "5x7x7 stem": dict(shape=(1, 6, 14, 14, 3), kernel_size=(5, 7, 7), strides=(1, 2, 2), padding=(2, 3, 3)),
    "1x3x3 strided": dict(shape=(2, 4, 7, 7, 5), kernel_size=(1, 3, 3), strides=(1, 2, 2)),
    "3x1x1": dict(shape=(2, 5, 4, 4, 40), kernel_size=(3, 1, 1)),
    "7x1x1 strided": dict(shape=(2, 9, 4, 4, 4), kernel_size=(7, 1, 1), strides=(4, 1, 1), padding=((3, 3), 0, 0)),
    "1x1x1 strided": dict(shape=(2, 5, 4, 4, 6), kernel_size=(1, 1, 1), strides=2),
    "depthwise": dict(shape=(2, 9, 8, 6), kernel_size=(3, 3), feature_group_count=6, features=6),
    "depthwise strided": dict(shape=(2, 9, 8, 6), kernel_size=(3, 3), strides=2, feature_group_count=6, features=6),
    "depthwise multiplied": dict(shape=(2, 9, 8, 6), kernel_size=(3, 3), feature_group_count=6, features=18),
    "depthwise 3d": dict(shape=(2, 4, 6, 6, 6), kernel_size=(3, 3, 3), feature_group_count=6, features=6),
    "two groups": dict(shape=(2, 4, 6, 6, 6), kernel_size=(3, 3, 3), feature_group_count=2, features=8),
    "many groups": dict(shape=(2, 6, 6, 24), kernel_size=(3, 3), feature_group_count=12, features=24),
    "two batch axes": dict(shape=(2, 3, 6, 6, 5), kernel_size=(3, 3)),
    "no batch axis": dict(shape=(6, 6, 5), kernel_size=(3, 3)),
}


@pytest.mark.parametrize("case", GRID)
def test_values_and_gradients(case):
    assert compare(**{"features": 4, **GRID[case]}) < 1e-5


@pytest.mark.parametrize("case", ["2d dilated", "1d causal", "3x3x3 of few channels", "depthwise multiplied"])
def test_initial_parameters(case):
    options = {"features": 4, **GRID[case]}
    x = random_variables.normal(options.pop("shape"))
    assert difference(*(kind(**options).init(jax.random.key(1), x) for kind in (Conv, nn.Conv))) == 0


@pytest.mark.parametrize("case", [case for case in GRID if "strided" in case or "channels" in case])
def test_double_precision(case):
    with jax.enable_x64(True):
        assert compare(dtype=jnp.float64, param_dtype=jnp.float64, **{"features": 4, **GRID[case]}) < 1e-12


@given(st.data())
@settings(max_examples=20, deadline=None)
def test_random_shapes(data):
    """As small ones and, where XLA would have a choice of forms, in those of large ones."""
    rank = data.draw(st.integers(1, 3), label="rank")
    per_axis = functools.partial(st.lists, min_size=rank, max_size=rank)
    kernel = data.draw(per_axis(st.integers(1, 4)), label="kernel")
    dilation = data.draw(per_axis(st.integers(1, 3)), label="dilation")
    strides = data.draw(per_axis(st.integers(1, 3)), label="strides")
    padding = data.draw(
        st.sampled_from(["SAME", "VALID"]) | per_axis(st.tuples(*2 * [st.integers(0, 4)])), label="padding"
    )
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel)]
    spatial = [span + data.draw(st.integers(0, 4), label="more") for span in spans]
    if data.draw(st.booleans(), label="short") and not isinstance(padding, str):
        spatial = [max(1, span - sum(pair)) for span, pair in zip(spans, padding)]
    groups = data.draw(st.sampled_from([1, 1, 2, 6]), label="groups")
    options = dict(kernel_size=kernel, kernel_dilation=dilation, strides=strides)
    options |= dict(features=4 if groups == 1 and data.draw(st.booleans(), label="few") else 12)
    options |= dict(feature_group_count=groups)
    channels = data.draw(st.sampled_from([3, 6, 66] if groups == 1 else [6, 66]), label="channels")
    # XLA's gradient of what is padded by more than the kernel reaches is not deterministic on a CPU, and wrong.
    theirs = None if isinstance(padding, str) else PaddedBeforehand(padding, options)
    with pytest.MonkeyPatch.context() as patch:
        if data.draw(st.booleans(), label="large"):
            for threshold in ("_MIN_BLOCKED_PIXELS", "_LARGE_IMAGE", "_LARGE_BATCH"):
                patch.setattr(conv2d, threshold, 0)
        assert compare((2, *spatial, channels), theirs=theirs, padding=padding, **options) < 1e-5


@pytest.mark.parametrize("padding", [(2, 0), (0, 2), (4, 1)])
def test_more_padding_than_kernel(padding):
    options = dict(features=12, kernel_size=(2,), feature_group_count=2)
    assert compare((2, 2, 6), theirs=PaddedBeforehand((padding,), options), padding=(padding,), **options) < 1e-5


@pytest.mark.parametrize("case", ["3x3x3 of many channels", "5x7x7 stem", "depthwise 3d", "2d strided"])
def test_under_vmap_and_pmap(case):
    options = {"features": 4, **GRID[case]}
    shape = options.pop("shape")
    lifted = functools.partial(jax.vmap, in_axes=(None, 0, 0))
    assert compare((2, *shape), wrap=lambda f: jax.jit(lifted(f)), **options) < 1e-5
    lifted = functools.partial(jax.pmap, in_axes=(None, 0, 0))
    assert compare((4, *shape), wrap=lifted, **options) < 1e-5


@pytest.mark.parametrize("case", ["3x3x3 of many channels", "3x3x3 of few channels", "depthwise 3d", "2d strided"])
def test_narrow_types_are_added_up_in_float32(case):
    options = {"features": 4, **GRID[case]}
    x = jnp.asarray(random_variables.normal(options.pop("shape")), jnp.bfloat16)
    options["use_bias"] = False
    ours, theirs = Conv(dtype=jnp.bfloat16, **options), nn.Conv(dtype=jnp.float32, **options)
    variables = random_variables.of(ours, x)
    rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16).astype(jnp.float32), variables)
    weights = jnp.ones(jax.eval_shape(ours.apply, variables, x).shape, jnp.float32)
    got = _compiled(ours, variables, x, weights)
    wanted = _compiled(theirs, rounded, x.astype(jnp.float32), weights)
    assert got[0].dtype == jnp.bfloat16 and got[1][1].dtype == jnp.bfloat16
    as_floats = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), got)
    assert difference(as_floats, wanted) < 2**-8, "one rounding of the result"


def test_gradients_of_gradients():
    x = random_variables.normal((1, 4, 5, 5, 3))

    def penalty(module, variables):
        return (jax.grad(lambda x: (module.apply(variables, x) ** 3).sum())(x) ** 2).sum()

    modules = [kind(4, (3, 3, 3), strides=(1, 2, 2)) for kind in (Conv, nn.Conv)]
    variables = random_variables.of(modules[0], x)
    gradients = (jax.jit(jax.grad(functools.partial(penalty, module)))(variables) for module in modules)
    assert difference(*gradients) < 1e-5


def lowered(function, *args, platform):
    return jax.export.export(jax.jit(function), platforms=[platform])(*args).mlir_module()


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_other_platforms_get_the_native_operation(platform):
    x, kernel = jnp.ones((2, 4, 6, 6, 5)), jnp.ones((3, 3, 3, 5, 7))
    strides, padding = (1, 2, 2), "SAME"

    def loss(operation, x, kernel):
        return (operation(x, kernel, strides, padding, dimension_numbers=("NDHWC", "DHWIO", "NDHWC")) ** 2).sum()

    def convolutions(operation):
        text = lowered(jax.grad(functools.partial(loss, operation), (0, 1)), x, kernel, platform=platform)
        lines = [line for line in text.splitlines() if "stablehlo.convolution" in line]
        return sorted(re.sub(r"%\w+|loc\(.*", "", line).strip() for line in lines)

    native = convolutions(jax.lax.conv_general_dilated)
    assert convolutions(convolution) == native and len(native) == 3


def test_a_cpu_gets_no_convolution_in_3d_and_the_switch_turns_that_off():
    x = jnp.ones((2, 4, 6, 6, 5))
    module = Conv(7, (3, 3, 3))
    variables = module.init(jax.random.key(0), x)

    def dimensions():
        text = lowered(lambda v, x: module.apply(v, x), variables, x, platform="cpu")
        results = re.findall(r"stablehlo\.convolution.*-> tensor<(.*)xf32>", text)
        return {len(shape.split("x")) for shape in results}

    assert dimensions() == {4}
    for native, wanted in ((False, {4}), (True, {5})):
        with native_operations(native):
            assert dimensions() == wanted
    with native_operations(), native_operations(False):
        assert dimensions() == {5}


@pytest.mark.parametrize(
    "name", ["early_fusion", "c3d_small", "r2plus1d_18", "i3d", "slowfast_r18_small", "capsule_video"]
)
def test_every_model_uses_it(name):
    """A CPU gets no convolution in 3D, none of groups, no windowed reduction."""
    smaller = {"width_multiplier": 0.1} if name in ("early_fusion", "r2plus1d_18") else {}
    smaller |= {"blocks": (1, 1, 1, 1)} if name == "slowfast_r18_small" else {}
    model, clip = create(name, 5, **smaller), jax.ShapeDtypeStruct((1, 16, 64, 64, 3), jnp.float32)
    with native_operations():  # traced fastest
        variables = jax.eval_shape(model.init, jax.random.key(0), clip)

    def loss(variables, clip):
        return model.apply(variables, clip).logits.sum()

    text = lowered(jax.grad(loss), variables, clip, platform="cpu")
    results = re.findall(r"stablehlo\.convolution.*feature_group_count = (\d+).*-> tensor<(.*)xf32>", text)
    assert results and {(groups, len(shape.split("x"))) for groups, shape in results} == {("1", 4)}
    assert not re.findall(r"reduce_window|select_and_scatter", text)


def test_a_symbolic_batch_is_exported_natively():
    module = Conv(7, (3, 3, 3))
    variables = module.init(jax.random.key(0), jnp.ones((1, 4, 6, 6, 5)))
    batch = jax.export.symbolic_shape("b, 4, 6, 6, 5")
    exported = jax.export.export(jax.jit(module.apply), platforms=["tpu"])(
        variables, jax.ShapeDtypeStruct(batch, jnp.float32)
    )
    assert exported.mlir_module().count("= stablehlo.convolution(") == 1


def test_many_taps_are_left_to_xla():
    """Written out, 31 x 31 of them take minutes to compile."""
    module, x = Conv(16, (31, 31), feature_group_count=16), jnp.ones((1, 32, 32, 16))
    text = lowered(module.apply, module.init(jax.random.key(0), x), x, platform="cpu")
    assert text.count("= stablehlo.convolution(") == 1


def test_other_dimension_numbers_are_obeyed():
    x, kernel = jax.random.normal(jax.random.key(0), (2, 3, 6, 7)), jax.random.normal(jax.random.key(1), (4, 3, 3, 3))
    numbers = ("NCHW", "OIHW", "NCHW")
    got = convolution(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)
    np.testing.assert_array_equal(
        got, jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=numbers)
    )
