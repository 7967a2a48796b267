import functools

import jax.numpy as jnp
import numpy as np
import pytest

from tests.refusals import refused
from vidjax.errors import ConfigError
from vidjax.models.output import Output
from vidjax.preprocessing.mixing import MixedLabels
from vidjax.training.losses import aux_read, bind_step, cross_entropy, margin, per_example, spread


def test_each_position_is_held_to_the_label():
    logits = jnp.log(jnp.array([[[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]]))
    got = cross_entropy(Output(logits), jnp.array([2]))
    np.testing.assert_allclose(got, [-(np.log(0.25) + np.log(0.7)) / 2], rtol=1e-6)


def test_logits_can_be_averaged_before_the_loss():
    output = Output(jnp.array([[[2.0, 0.0], [0.0, 4.0]]]))
    loss = cross_entropy(output, jnp.array([0]), average="logits")
    np.testing.assert_allclose(loss, [np.log1p(np.exp(2.0 - 1.0))], rtol=1e-6)
    with refused(ValueError, "average='logit'", "loss, logits"):
        cross_entropy(output, jnp.array([0]), average="logit")


def test_later_positions_can_count_more():
    logits = jnp.log(jnp.array([[[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]]]))
    got = cross_entropy(Output(logits), jnp.array([1]), average="growing")
    np.testing.assert_allclose(got, [-(np.log(0.5) + 2 * np.log(0.8) + 3 * np.log(0.1)) / 6], rtol=1e-6)


def test_label_smoothing_spreads_over_all_classes():
    p = np.array([0.5, 0.3, 0.2])
    got = cross_entropy(Output(jnp.log(p)[None, None]), jnp.array([0]), label_smoothing=0.3)
    np.testing.assert_allclose(got, [-(np.array([0.8, 0.1, 0.1]) * np.log(p)).sum()], rtol=1e-6)


def test_balanced_weights_let_every_class_count_alike():
    counts, labels = (6, 3, 0), np.array([0] * 6 + [1] * 3)
    output = Output(jnp.zeros((9, 1, 3)))
    plain = cross_entropy(output, labels)
    weighted = np.asarray(cross_entropy(output, labels, class_weights="balanced", class_counts=counts) / plain)
    assert weighted[labels == 0].sum() == pytest.approx(weighted[labels == 1].sum()) == pytest.approx(3)


def test_bfloat16_logits_are_summed_in_float32():
    assert cross_entropy(Output(jnp.zeros((2, 1, 3), jnp.bfloat16)), jnp.array([0, 1])).dtype == jnp.float32


def test_mixed_labels_weigh_each_loss_by_its_share():
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]])
    labels = MixedLabels(jnp.array([0, 2]), jnp.array([1, 0]), jnp.array([0.8, 0.3]))
    got = per_example(cross_entropy, Output(jnp.log(p)[:, None]), labels)
    targets = np.array([[0.8, 0.2, 0.0], [0.7, 0.0, 0.3]])
    np.testing.assert_allclose(got, -(targets * np.log(p)).sum(axis=1), rtol=1e-6)


def test_margin_loss_is_equation_4_of_the_capsules():
    lengths = np.array([[0.95, 0.3, 0.05], [0.2, 0.7, 0.4]])
    wanted = [0.5 * 0.2**2, 0.7**2 + 0.5 * (0.6**2 + 0.3**2)]  # labels 0 and 0
    got = margin(Output(jnp.asarray(lengths)[:, None]), jnp.array([0, 0]))
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_margin_loss_counts_the_label_s_picture_alone():
    drawn = jnp.stack([jnp.zeros((2, 1, 4)), jnp.full((2, 1, 4), 0.5)], axis=2)  # of class 0 and of class 1
    output = Output(jnp.ones((2, 1, 2)), {"reconstruction": drawn, "target": jnp.full((2, 1, 4), 0.25)})
    drawn_loss = margin(output, jnp.array([0, 1]), reconstruction=2.0) - margin(output, jnp.array([0, 1]))
    np.testing.assert_allclose(drawn_loss, [2 * 4 * 0.25**2] * 2, rtol=1e-6)
    with refused(ConfigError, "reconstruction=2"):
        margin(Output(jnp.ones((2, 1, 2))), jnp.array([0, 1]), reconstruction=2.0)


@pytest.mark.parametrize("step, m", [(0, 0.2), (5, 0.55), (10, 0.9), (99, 0.9)])
def test_spread_loss_grows_its_margin(step, m):
    activations = np.array([0.6, 0.5, 0.1])
    growing = functools.partial(spread, margin_start=0.2, margin_end=0.9, margin_steps=10)
    got = bind_step(growing, jnp.asarray(step))(Output(jnp.asarray(activations)[None, None]), jnp.array([0]))
    np.testing.assert_allclose(got, [max(0, m - 0.1) ** 2 + max(0, m - 0.5) ** 2], rtol=1e-5)


def test_a_loss_that_does_not_change_takes_no_step():
    assert bind_step(cross_entropy, jnp.asarray(3)) is cross_entropy


def test_a_margin_that_grows_needs_a_time():
    output = Output(jnp.ones((1, 1, 3)))
    with refused(ConfigError, "0.2", "0.9", "margin_steps"):
        spread(output, jnp.array([0]), step=jnp.zeros((), int))
    np.testing.assert_allclose(
        spread(output, jnp.array([0]), step=jnp.zeros((), int), margin_start=0.5, margin_end=0.5), [2 * 0.5**2]
    )


@pytest.mark.parametrize(
    "loss",
    [
        functools.partial(margin, reconstruction=0.1),
        functools.partial(spread, step=jnp.zeros((), int), margin_steps=10),
    ],
)
def test_losses_of_capsules_are_averaged_over_positions(loss):
    rng = np.random.default_rng(0)
    lengths, label = jnp.asarray(rng.random((4, 3, 5)), jnp.float32), jnp.array([0, 4, 2, 2])
    drawn = jnp.asarray(rng.random((4, 3, 5, 6)), jnp.float32)
    target = jnp.asarray(rng.random((4, 3, 6)), jnp.float32)

    def of(positions):
        aux = {"reconstruction": drawn[:, positions], "target": target[:, positions]}
        return loss(Output(lengths[:, positions], aux), label)

    np.testing.assert_allclose(of(slice(None)), sum(of(slice(n, n + 1)) for n in range(3)) / 3, rtol=1e-6)


def test_what_of_aux_a_loss_trains_depends_on_its_options():
    assert aux_read(cross_entropy) == aux_read(margin) == frozenset()
    assert aux_read(functools.partial(margin, present=0.8, reconstruction=0.0)) == frozenset()
    assert aux_read(functools.partial(margin, present=0.8, reconstruction=5e-4)) >= {"reconstruction"}
