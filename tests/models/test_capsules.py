"""CapsNet, its baseline and the capsule network on clips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidjax import models


def variables_of(model, clips):
    return jax.jit(lambda: model.init(jax.random.key(0), rgb=clips))()


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
    clips = jax.random.uniform(jax.random.key(1), (2, 3, 24, 20, 3))
    variables = variables_of(model, clips)
    output = model.apply(variables, rgb=clips)
    assert output.logits.shape == (2, 3, 5)
    np.testing.assert_allclose(output.logits, np.linalg.norm(output.aux["poses"], axis=-1), atol=1e-6)
    assert output.aux["reconstruction"].shape == (2, 3, 5, 24 * 20)
    np.testing.assert_array_equal(output.aux["target"], clips[..., 0].reshape(2, 3, -1))
    alone = model.apply(variables, rgb=clips[:, 1:2])
    np.testing.assert_allclose(alone.logits[:, 0], output.logits[:, 1], atol=1e-6)


def test_capsule_video_gives_activations():
    model = models.create("capsule_video", 5, widths=(4, 6), types=2)
    clips = jax.random.uniform(jax.random.key(1), (2, 16, 40, 40, 3))
    variables = variables_of(model, clips)
    output, changed = model.apply(variables, rgb=clips, train=True, mutable=["batch_stats"])
    assert output.logits.shape == (2, 1, 5)
    assert ((output.logits > 0) & (output.logits < 1)).all()
    assert output.aux["poses"].shape == (2, 5, 4, 4)
    assert set(changed) == {"batch_stats"}
