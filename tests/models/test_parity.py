"""vidjax's 3D networks against PyTorch models with the same weights: logits and what every block puts out."""

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from flax import traverse_util

torch = pytest.importorskip("torch", reason="parity needs PyTorch (requirements-parity.txt)")

from benchmarks.torch_models import c3d, resnet3d, slowfast  # noqa: E402
from tests.models.reference import comparison  # noqa: E402
from tests.models.reference.peers import package as peer_package  # noqa: E402
from vidjax.models import create, summary  # noqa: E402
from vidjax.pretrained.importers import (  # noqa: E402
    from_pyslowfast,
    from_pytorchvideo,
    from_torchvision,
)

K = 11


def _prefix(pathway, two):
    return ("slow_", "fast_")[int(pathway)] if two else ""


def _pyslowfast(two):
    return {
        r"s1\.pathway(\d)_stem\.relu": lambda p: f"{_prefix(p, two)}stem",
        r"s(\d)_fuse\.relu": lambda n: f"lateral{n}",
        r"s(\d)\.pathway(\d)_res(\d)": lambda n, p, i: f"{_prefix(p, two)}res{n}/block{i}",
    }


# Patterns of PyTorch names -> the path of the module of vidjax that puts out the same.
SLOWFAST, SINGLE = _pyslowfast(True), _pyslowfast(False)
TORCHVISION = {r"stem": lambda: "stem", r"layer(\d)\.(\d)": lambda n, i: f"res{int(n) + 1}_{i}"}
FACTORIZED = TORCHVISION | {r"stem": lambda: "stem_time", r"stem\.2": lambda: "stem_space"}
ALL_LAYERS = {r"((?:conv|norm)\d[ab]|fc\d)": lambda name: name}


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A model of vidjax and its counterpart.

    Attributes:
      name, options: of `create`.
      build: makes the counterpart.
      load: maps module, state and counterpart to variables.
      rules: of `comparison.places`.
      shape: of the clips, [B, T, H, W].
    """

    name: str
    options: dict[str, Any]
    build: Callable[[], torch.nn.Module]
    load: Callable[..., Any]
    rules: Any
    shape: tuple[int, ...]


def slowfast_case(name, build, rules=SLOWFAST, shape=(1, 32, 64, 64), **options):
    return Case(name, options, build, lambda module, state, _: from_pyslowfast(module, state), rules, shape)


def resnet_case(name, factorized):
    build = functools.partial(resnet3d.ResNet3D, K, factorized, width_multiplier=0.25)
    load, rules = lambda module, state, _: from_torchvision(module, state), FACTORIZED if factorized else TORCHVISION
    return Case(name, {"width_multiplier": 0.25}, build, load, rules, (2, 9, 47, 48))


def c3d_case(shape, left, **options):
    batch = options.get("normalization") == "batch"
    build = functools.partial(c3d.C3D, K, left, batch, options["width_multiplier"])
    rules = ALL_LAYERS if batch else {r"(conv\d[ab]|fc\d)": lambda name: name}
    return Case("c3d", options, build, lambda module, state, peer: peer.variables(), rules, shape)


# At 64 pixels 2 x 2 responses are left: one window (the default, cut to what there is) or, of size 1, four positions.
S, P = slowfast.SlowFast, slowfast.SinglePathway
CASES = {
    "slowfast_4x16": slowfast_case(
        "slowfast_r50_4x16", lambda: S(K, 8, 5, width=16, window=1), width=16, head_window=1
    ),
    "slowfast_8x8": slowfast_case("slowfast_r50_8x8", lambda: S(K, 4, 7, width=16, window=2), width=16),
    "slowfast_r18": slowfast_case(
        "slowfast_r18_small", lambda: S(K, 4, 5, depth=18, width=16, beta_inverse=4, window=2), shape=(2, 16, 64, 48)
    ),
    "slow": slowfast_case("slow_r50", lambda: P(K, width=16, window=2), SINGLE, (2, 8, 64, 64), width=16),
    "fast": slowfast_case("fast_r50", lambda: P(K, slowfast.FAST, width=8, window=2), SINGLE, (2, 16, 64, 64)),
    "i3d_r50": slowfast_case(
        "i3d_r50", lambda: P(K, slowfast.I3D, True, width=16, window=2), SINGLE, (2, 8, 64, 64), width=16
    ),
    "c2d_r50": slowfast_case(
        "c2d_r50", lambda: P(K, slowfast.C2D, True, width=16, window=1), SINGLE, (2, 8, 64, 64), width=16, head_window=1
    ),
    "r3d_18": resnet_case("r3d_18", False),
    "r2plus1d_18": resnet_case("r2plus1d_18", True),
    "c3d": c3d_case((2, 16, 56, 56), (1, 2, 2), width_multiplier=0.125),
    "c3d_batch": c3d_case((2, 9, 40, 56), (1, 2, 2), width_multiplier=0.125, normalization="batch"),
}
WIDE = {
    "slowfast_4x16": slowfast_case("slowfast_r50_4x16", lambda: S(K, window=2)),
    "slowfast_8x8": slowfast_case("slowfast_r50_8x8", lambda: S(K, 4, 7, window=2)),
    "i3d_r50": slowfast_case("i3d_r50", lambda: P(K, slowfast.I3D, True, window=2), SINGLE, (2, 8, 64, 64)),
}


@functools.cache  # each is used by several tests
def prepared(case):
    """The module, its variables, the counterpart, a clip, and what the counterpart makes of it in evaluation."""
    peer = comparison.randomize(case.build())
    module = create(case.name, K, dropout=0.0, **case.options)
    variables = case.load(module, comparison.state(peer), peer)
    rgb = comparison.clip(*case.shape, 3)
    where = comparison.places(peer, case.rules)
    return module, variables, peer, rgb, comparison.run_torch(peer, comparison.to_torch(rgb), where)


def each(*names, cases=CASES, slow=()):
    params = [pytest.param(cases[n], id=n, marks=[pytest.mark.slow] if n in slow else []) for n in names or cases]
    return pytest.mark.parametrize("case", params)


# Counts of papers.md section 10, and of the published R3D-18 and R(2+1)D-18; here with 400 classes.
COUNTS = {
    "slowfast_r50_4x16": (lambda: S(400), 34_480_216),
    "slowfast_r50_8x8": (lambda: S(400, 4, 7), 34_566_488),
    "slow_r50": (lambda: P(400), 32_454_096),
    "i3d_r50": (lambda: P(400, slowfast.I3D, True), 28_043_472),
    "c2d_r50": (lambda: P(400, slowfast.C2D, True), 24_327_632),
    "r3d_18": (lambda: resnet3d.ResNet3D(400), 33_371_472),
    "r2plus1d_18": (lambda: resnet3d.ResNet3D(400, True), 31_505_325),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_counterparts_have_the_published_parameters(name):
    build, count = COUNTS[name]
    with torch.device("meta"):
        peer = build()
    assert sum(parameter.numel() for parameter in peer.parameters()) == count
    if name == "slowfast_r50_4x16":
        assert sum(isinstance(layer, torch.nn.BatchNorm3d) for layer in peer.modules()) == 110


def test_the_counterparts_of_c3d_have_its_parameters():
    with torch.device("meta"):
        peer = c3d.C3D(101, (1, 4, 4))
    count = sum(parameter.numel() for parameter in peer.parameters())
    assert count == summary(create("c3d", 101), rgb=(1, 16, 112, 112, 3)).parameters


def test_the_slow_pathway_of_the_counterpart_takes_the_frames_of_the_specification():
    assert S(K, width=8).slow_frames(32).tolist() == [0, 10, 20, 31]
    assert S(K, 4, 7, width=8).slow_frames(32).tolist() == [0, 4, 8, 13, 17, 22, 26, 31]


@each()
def test_every_block_agrees(case):
    module, variables, _, rgb, want = prepared(case)
    got = comparison.run_jax(module, variables, rgb)
    comparison.assert_agree(got, want)
    assert want["logits"].shape[1] == (4 if case.options.get("head_window") == 1 else 1)


@pytest.mark.slow
@each(cases=WIDE)
def test_every_block_agrees_at_full_width(case):
    module, variables, _, rgb, want = prepared(case)
    comparison.assert_agree(comparison.run_jax(module, variables, rgb), want)


@each("slowfast_r18", "i3d_r50", "r3d_18", "r2plus1d_18", "c3d_batch", slow=("i3d_r50", "r2plus1d_18"))
def test_training_agrees_and_so_do_its_running_statistics(case):
    """In float64: in float32 PyTorch itself is off by 9e-5 after 50 layers of statistics over few numbers."""
    module, variables, _, rgb, _ = prepared(case)
    peer = comparison.randomize(case.build()).double()  # one whose statistics may change
    where, wide = comparison.places(peer, case.rules), rgb.astype(np.float64)
    want = comparison.run_torch(peer, comparison.to_torch(wide), where, train=True)
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda leaf: leaf.astype(np.float64), variables)
        got, stats = comparison.run_jax(module, variables, wide, train=True)
        stats = jax.tree.map(np.asarray, stats)
    comparison.assert_agree(got, want, 1e-9)
    old, new, after = (
        traverse_util.flatten_dict(tree)
        for tree in (variables["batch_stats"], stats, case.load(module, comparison.state(peer), peer)["batch_stats"])
    )
    ours, theirs = {}, {}
    for path, value in new.items():
        unbiased = 1.0
        if path[-1] == "var":  # PyTorch divides by n - 1
            n = np.prod(got["/".join(path[:-1])].shape[:-1])
            unbiased = n / (n - 1)
        ours[path], theirs[path] = (value - 0.9 * old[path]) * unbiased, after[path] - 0.9 * old[path]
    comparison.assert_agree(ours, theirs)  # what importers give is float32


def _swap(flat, first, second):
    assert flat[first].shape == flat[second].shape
    flat[first], flat[second] = flat[second], flat[first]


def _transform(change):
    def transform(flat, leaf, _):
        flat[leaf] = change(flat[leaf])

    return transform


WRONGS = {
    "two kernels swapped": _swap,
    "height and width swapped": _transform(lambda kernel: kernel.swapaxes(1, 2)),
    "one kernel mirrored": _transform(lambda kernel: kernel[:, :, ::-1]),
}
KERNELS = {
    "slowfast_4x16": ("fast_res3/block1/b/conv", "fast_res3/block2/b/conv"),
    "i3d_r50": ("res4/block0/b/conv", "res4/block1/b/conv"),
    "r2plus1d_18": ("res2_0/b_space/conv", "res2_1/b_space/conv"),
    "c3d": ("conv5a", "conv5b"),
}


@pytest.mark.parametrize("wrong", WRONGS)
@pytest.mark.parametrize("name", KERNELS)
def test_a_wrong_kernel_is_seen(name, wrong):
    module, variables, _, rgb, want = prepared(CASES[name])
    flat = traverse_util.flatten_dict(variables, sep="/")
    WRONGS[wrong](flat, *(f"params/{layer}/kernel" for layer in KERNELS[name]))
    got = comparison.run_jax(module, traverse_util.unflatten_dict(flat, sep="/"), rgb)
    assert comparison.errors(got, want)["logits"] > 1e-3
    with pytest.raises(AssertionError, match="max"):
        comparison.assert_agree(got, want)


@pytest.mark.parametrize("leaf", ["mean", "var"])
def test_a_wrong_running_statistic_is_seen(leaf):
    module, variables, _, rgb, want = prepared(CASES["slowfast_4x16"])
    flat = traverse_util.flatten_dict(variables, sep="/")
    _swap(flat, f"batch_stats/fast_res3/block1/b/norm/{leaf}", f"batch_stats/fast_res3/block2/b/norm/{leaf}")
    got = comparison.run_jax(module, traverse_util.unflatten_dict(flat, sep="/"), rgb)
    with pytest.raises(AssertionError, match="max"):
        comparison.assert_agree(got, want)


# Importers.


def to_pytorchvideo(name, two, pool):
    """A PySlowFast name as pytorchvideo has it."""
    fusion, inside = r"multipathway_fusion", (r"multipathway_blocks.\g<p>." if two else "")
    name = re.sub(r"head\.projection", f"blocks.{6 if two or pool else 5}.proj", name)
    name = re.sub(r"s1\.pathway(?P<p>\d)_stem\.", f"blocks.0.{inside}", name)
    name = re.sub(r"s(\d)_fuse\.", lambda m: f"blocks.{int(m[1]) - 1}.{fusion}.", name)
    shift = {"2": "1"} | {str(n): str(n - 1 + pool) for n in (3, 4, 5)}
    name = re.sub(r"^s(\d)\.", lambda m: f"blocks.{shift[m[1]]}.", name)
    name = re.sub(r"pathway(?P<p>\d)_res(?P<i>\d)", inside + r"res_blocks.\g<i>", name)
    name = name.replace("conv_f2s", "conv_fast_to_slow").replace("branch1_bn", "branch1_norm")
    name = re.sub(r"branch1\.weight", "branch1_conv.weight", name)
    name = re.sub(r"branch2\.([abc])_bn", r"branch2.norm_\1", name)
    name = re.sub(r"branch2\.([abc])\.", r"branch2.conv_\1.", name)
    return re.sub(r"\.bn\.", ".norm.", name)


@each("slowfast_8x8", "slow", "i3d_r50")
def test_the_names_of_pytorchvideo_give_the_same_variables(case):
    module, variables, peer, _, _ = prepared(case)
    two, pool = case.rules is SLOWFAST, case.name == "i3d_r50"
    renamed = {to_pytorchvideo(name, two, pool): value for name, value in comparison.state(peer).items()}
    jax.tree.map(np.testing.assert_array_equal, from_pytorchvideo(module, renamed), variables)
    known = {
        "slowfast_r50_8x8": ("blocks.0.multipathway_fusion.conv_fast_to_slow.weight", "blocks.6.proj.weight"),
        "slow_r50": ("blocks.0.conv.weight", "blocks.2.res_blocks.0.branch1_norm.bias", "blocks.5.proj.weight"),
        "i3d_r50": ("blocks.3.res_blocks.3.branch2.conv_a.weight", "blocks.6.proj.bias"),
    }
    assert set(known[case.name]) <= renamed.keys()


@each("slowfast_r18", "c2d_r50", "r2plus1d_18")
def test_importers_make_exactly_the_variables_of_the_module(case):
    module, variables, peer, rgb, _ = prepared(case)
    wanted = jax.eval_shape(lambda: module.init(jax.random.key(0), rgb=rgb))
    assert jax.tree.structure(wanted) == jax.tree.structure(variables)
    jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype) or pytest.fail(f"{a} {b}"), wanted, variables)
    # Nothing is lost on the way: each number of the checkpoint comes out once.
    numbers = [v.ravel() for n, v in comparison.state(peer).items() if not n.endswith("num_batches_tracked")]
    leaves = [leaf.ravel() for leaf in jax.tree.leaves(variables)]
    np.testing.assert_array_equal(np.sort(np.concatenate(leaves)), np.sort(np.concatenate(numbers)))


# The published implementations, where they are installed: pytorchvideo 0.1.5 (also at full size), torchvision 0.28.0.


def _pytorchvideo(two, pool=False):
    if two:
        return {
            r"blocks\.0\.multipathway_blocks\.(\d)\.activation": lambda p: f"{_prefix(p, two)}stem",
            r"blocks\.(\d)\.multipathway_fusion\.activation": lambda n: f"lateral{int(n) + 1}",
            r"blocks\.(\d)\.multipathway_blocks\.(\d)\.res_blocks\.(\d)": lambda n, p, i: (
                f"{_prefix(p, two)}res{int(n) + 1}/block{i}"
            ),
        }
    return {
        r"blocks\.0\.activation": lambda: "stem",
        r"blocks\.(\d)\.res_blocks\.(\d)": lambda n, i: f"res{int(n) + (1 if n == '1' or not pool else 0)}/block{i}",
    }


def _slowfast_options(alpha, kernel, width=16):
    return {
        "slowfast_fusion_conv_kernel_size": (kernel, 1, 1),
        "slowfast_fusion_conv_stride": (alpha, 1, 1),
        "stem_dim_outs": (width, width // 8),
        "head_pool_kernel_sizes": ((32 // alpha, 2, 2), (32, 2, 2)),
    }


def _single_options(kernel, time=8, width=16):
    return {"stem_dim_out": width, "stem_conv_kernel_size": (kernel, 7, 7), "head_pool_kernel_size": (time, 2, 2)}


# Function of pytorchvideo.models.hub or .models, its options, ours, clips.
PYTORCHVIDEO = {
    "slowfast_r50_4x16": ("slowfast.create_slowfast", _slowfast_options(8, 5), 32),
    "slowfast_r50_8x8": ("slowfast.create_slowfast", _slowfast_options(4, 7), 32),
    "slow_r50": ("resnet.create_resnet", _single_options(1), 8),
    "fast_r50": (
        "resnet.create_resnet",
        _single_options(5, 16) | {"stage_conv_a_kernel_size": ((3, 1, 1),) * 4},
        16,
    ),
    "i3d_r50": ("hub.i3d_r50", {"stem_dim_out": 16, "head_pool_kernel_size": (4, 2, 2)}, 8),
    "c2d_r50": ("hub.c2d_r50", {"stem_dim_out": 16, "head_pool_kernel_size": (4, 2, 2)}, 8),
}
HUB = {
    "slowfast_r50_8x8": ("slowfast_r50", 32),
    "slow_r50": ("slow_r50", 8),
    "i3d_r50": ("i3d_r50", 8),
    "c2d_r50": ("c2d_r50", 8),
}


def compare_with_pytorchvideo(name, peer, module, rgb):
    peer = comparison.randomize(peer)
    two = name.startswith("slowfast")
    variables = from_pytorchvideo(module, comparison.state(peer))
    inputs = comparison.to_torch(rgb)
    if two:  # a list, which pytorchvideo overwrites; the frames of its tutorial's PackPathway
        frames = torch.linspace(0, inputs.shape[2] - 1, inputs.shape[2] // module.alpha).long()
        inputs = [inputs[:, :, frames], inputs]
    where = comparison.places(peer, _pytorchvideo(two, name in ("i3d_r50", "c2d_r50")))
    want = comparison.run_torch(peer, inputs, where)
    want["logits"] = want["logits"][:, None]
    comparison.assert_agree(comparison.run_jax(module, variables, rgb), want)
    assert len(want) == (39 if two else 18)  # stems, lateral connections, blocks, logits


@pytest.mark.parametrize("name", PYTORCHVIDEO)
def test_pytorchvideos_own_models_agree(name):
    models = peer_package("pytorchvideo.models")
    peer_package("pytorchvideo.models.hub")
    function, options, frames = PYTORCHVIDEO[name]
    place, _, function = function.partition(".")
    peer = getattr(getattr(models, place), function)(model_num_class=K, **options)
    module = create(name, K, width=16)
    compare_with_pytorchvideo(name, peer, module, comparison.clip(2, frames, 64, 64, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", HUB)
def test_pytorchvideos_hub_models_agree_at_full_size(name):
    hub = peer_package("pytorchvideo.models.hub")
    function, frames = HUB[name]
    rgb = comparison.clip(1, frames, 224, 224, 3)
    compare_with_pytorchvideo(name, getattr(hub, function)(), create(name, 400), rgb)


@pytest.mark.parametrize("name", ["r3d_18", "r2plus1d_18"])
def test_torchvisions_own_models_agree(name):
    peer = comparison.randomize(getattr(peer_package("torchvision.models.video"), name)(num_classes=K))
    module, rgb = create(name, K), comparison.clip(1, 8, 48, 48, 3)
    variables = from_torchvision(module, comparison.state(peer))
    where = comparison.places(peer, FACTORIZED if name == "r2plus1d_18" else TORCHVISION)
    want = comparison.run_torch(peer, comparison.to_torch(rgb), where)
    want["logits"] = want["logits"][:, None]
    comparison.assert_agree(comparison.run_jax(module, variables, rgb), want)
