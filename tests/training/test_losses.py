import jax.numpy as jnp
import numpy as np

from vidjax.models.output import Output
from vidjax.preprocessing.mixing import MixedLabels
from vidjax.training.losses import cross_entropy, per_example


def test_each_position_is_held_to_the_label():
    logits = jnp.log(jnp.array([[[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]]))
    got = cross_entropy(Output(logits), jnp.array([2]))
    np.testing.assert_allclose(got, [-(np.log(0.25) + np.log(0.7)) / 2], rtol=1e-6)


def test_label_smoothing_spreads_over_all_classes():
    p = np.array([0.5, 0.3, 0.2])
    got = cross_entropy(Output(jnp.log(p)[None, None]), jnp.array([0]), label_smoothing=0.3)
    np.testing.assert_allclose(got, [-(np.array([0.8, 0.1, 0.1]) * np.log(p)).sum()], rtol=1e-6)


def test_bfloat16_logits_are_summed_in_float32():
    assert cross_entropy(Output(jnp.zeros((2, 1, 3), jnp.bfloat16)), jnp.array([0, 1])).dtype == jnp.float32


def test_mixed_labels_weigh_each_loss_by_its_share():
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    labels = MixedLabels(jnp.array([0, 2]), jnp.array([1, 0]), jnp.array([0.8, 0.3]))
    got = per_example(cross_entropy, Output(jnp.log(p)[:, None]), labels)
    targets = np.array([[0.8, 0.2, 0.0], [0.7, 0.0, 0.3]])
    np.testing.assert_allclose(got, -(targets * np.log(p)).sum(axis=1), rtol=1e-6)
