"""CapsNet, its baseline and the capsule network on clips."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax import models
from vidjax.layers.capsules import DenseCaps, PrimaryCaps
from vidjax.layers.matrix_capsules import EMRouting


def variables_of(model, clips):
    return jax.jit(lambda: model.init(jax.random.key(0), rgb=clips))()


def clips_of(*shape):
    return np.random.default_rng(1).uniform(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    "name, options, parameters",
    [
        ("capsnet", {}, 8_215_568),
        ("capsnet", {"decoder": False}, 6_804_224),
        ("capsnet_baseline", {}, 35_445_522),
    ],
)
def test_counts_of_the_paper(name, options, parameters):
    model = models.create(name, 10, **options)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), rgb=jnp.zeros((1, 1, 28, 28, 3))))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == parameters


def test_capsnet_gives_lengths_and_pictures_frame_by_frame():
    model = models.create("capsnet", 5, width=4, types=2)
    clips = clips_of(2, 3, 24, 20, 3)
    variables = variables_of(model, clips)
    apply = jax.jit(model.apply)
    output = apply(variables, rgb=clips)
    assert output.logits.shape == (2, 3, 5)
    np.testing.assert_allclose(output.logits, np.linalg.norm(output.aux["poses"], axis=-1), atol=1e-6)
    assert output.aux["reconstruction"].shape == (2, 3, 5, 24 * 20)
    np.testing.assert_array_equal(output.aux["target"], clips[..., 0].reshape(2, 3, -1))
    alone = apply(variables, rgb=clips[:, 1:2])
    np.testing.assert_allclose(alone.logits[:, 0], output.logits[:, 1], atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"iterations": 1, "detach": True, "vote_megabytes": 0.001}])
def test_capsnet_is_its_layers(options):
    model = models.create("capsnet", 3, width=4, types=2, primary_dimension=3, dimension=5, decoder=False, **options)
    clips = clips_of(2, 1, 24, 20, 3)
    params = variables_of(model, clips)["params"]
    layer = DenseCaps(3, 5, **options)

    def by_hand(params):
        x = nn.relu(nn.Conv(4, (9, 9), padding="VALID").apply({"params": params["conv1"]}, clips[:, 0, ..., :1]))
        x = PrimaryCaps(2, 3, (9, 9), strides=2).apply({"params": params["primary_caps"]}, x)
        return jnp.linalg.norm(layer.apply({"params": params["class_caps"]}, x), axis=-1)

    def values_and_gradients(scores):
        both = jax.jit(lambda params: (scores(params), jax.grad(lambda p: jnp.square(scores(p)).sum())(params)))
        return both(params)

    got = values_and_gradients(lambda params: model.apply({"params": params}, rgb=clips).logits[:, 0])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, values_and_gradients(by_hand))


def modules_of(name, shape, **options):
    """The layers by name, as the model makes them."""
    modules = {}

    def note(call, args, kwargs, context):
        modules["/".join(context.module.path)] = context.module
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        model = models.create(name, 3, **options)
        jax.eval_shape(lambda: model.init(jax.random.key(0), rgb=jnp.zeros(shape)))
    return modules


def test_options_of_capsnet_arrive():
    modules = modules_of("capsnet", (1, 1, 24, 24, 3), width=4, types=2, iterations=2, detach=True, vote_megabytes=0.5)
    layer = modules["class_caps"]
    assert (layer.iterations, layer.detach, layer.vote_megabytes) == (2, True, 0.5)


def test_options_of_capsule_video_arrive():
    numbers = {"inverse_temperature": 0.3, "relative_cost": False, "least_variance": 0.2, "vote_megabytes": 0.5}
    modules = modules_of(
        "capsule_video",
        (1, 16, 40, 40, 3),
        widths=(4, 6, 5),
        types=2,
        primary_kernel=(1, 3, 3),
        window=(2, 3, 4),
        strides=(2, 1, 2),
        pool=False,
        iterations=4,
        conv_iterations=3,
        **numbers,
    )
    convolutions = [(modules[f"conv{n}"].features, modules[f"conv{n}"].strides) for n in (1, 2, 3)]
    assert convolutions == [(4, (1, 2, 2)), (6, (2, 2, 2)), (5, (1, 1, 1))]
    assert modules["primary_caps"].kernel_size == (1, 3, 3)
    layer = modules["conv_caps"]
    assert (layer.kernel_size, layer.strides, layer.pool) == ((2, 3, 4), (2, 1, 2), False)
    assert layer.routing == EMRouting(iterations=3, **numbers)
    assert modules["class_caps"].routing == EMRouting(iterations=4, **numbers)


def test_capsule_video_gives_activations():
    model = models.create("capsule_video", 5, widths=(4, 6), types=2)
    clips = clips_of(2, 16, 40, 40, 3)
    variables = variables_of(model, clips)
    train = jax.jit(lambda variables, rgb: model.apply(variables, rgb=rgb, train=True, mutable=["batch_stats"]))
    output, changed = train(variables, clips)
    assert output.logits.shape == (2, 1, 5)
    assert ((output.logits > 0) & (output.logits < 1)).all()
    assert output.aux["poses"].shape == (2, 5, 4, 4)
    assert set(changed) == {"batch_stats"}
