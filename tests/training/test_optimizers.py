import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vidjax.errors import ConfigError
from vidjax.training import optimizers

W0, B0 = 2.0, -1.0


def three_steps(optimizer):
    """Minimises (w^2 + b^2) / 2, whose gradient is the parameter itself; w is a matrix, b a bias."""
    params = {"kernel": jnp.full((1, 1), W0), "bias": jnp.full((1,), B0)}
    state = optimizer.init(params)
    path = []
    for _ in range(3):
        updates, state = optimizer.update(params, state, params)
        params = optax.apply_updates(params, updates)
        path.append((float(params["kernel"][0, 0]), float(params["bias"][0])))
    return path


def scalar(update, start, steps=3):
    """Runs `update(w, memory, t) -> (w, memory)`, written from the optimizer's paper."""
    w, memory, path = start, (0.0, 0.0), []
    for t in range(1, steps + 1):
        w, memory = update(w, memory, t)
        path.append(w)
    return path


def sgd(rate, l2=0.0, decay=0.0):
    return lambda w, m, t: (w - rate * (w + l2 * w) - rate * decay * w, m)


def momentum(rate, mu=0.9, nesterov=False, l2=0.0):
    def update(w, memory, t):
        gradient = w + l2 * w
        v = mu * memory[0] + gradient
        return w - rate * (gradient + mu * v if nesterov else v), (v, 0.0)

    return update


def adam(rate, b1=0.9, b2=0.999, eps=1e-8, l2=0.0, decay=0.0):
    def update(w, memory, t):
        gradient = w + l2 * w
        m = b1 * memory[0] + (1 - b1) * gradient
        v = b2 * memory[1] + (1 - b2) * gradient**2
        step = (m / (1 - b1**t)) / ((v / (1 - b2**t)) ** 0.5 + eps)
        return w - rate * (step + decay * w), (m, v)

    return update


CASES = [
    ("sgd", {}, sgd(0.1), sgd(0.1)),
    ("sgd", {"l2": 0.5}, sgd(0.1, l2=0.5), sgd(0.1)),
    ("sgd", {"weight_decay": 0.5}, sgd(0.1, decay=0.5), sgd(0.1)),
    ("momentum", {}, momentum(0.1), momentum(0.1)),
    ("momentum", {"nesterov": True, "momentum": 0.8}, momentum(0.1, 0.8, True), momentum(0.1, 0.8, True)),
    ("momentum", {"l2": 0.5, "decay_all": True}, momentum(0.1, l2=0.5), momentum(0.1, l2=0.5)),
    ("adam", {}, adam(0.1), adam(0.1)),
    ("adam", {"l2": 0.5, "b1": 0.8}, adam(0.1, 0.8, l2=0.5), adam(0.1, 0.8)),
    ("adamw", {}, adam(0.1, decay=0.01), adam(0.1)),
    ("adamw", {"weight_decay": 0.5, "b2": 0.9}, adam(0.1, b2=0.9, decay=0.5), adam(0.1, b2=0.9)),
]


@pytest.mark.parametrize("name, options, kernel, bias", CASES)
def test_three_steps_on_a_quadratic(name, options, kernel, bias):
    path = three_steps(optimizers.create(name, 0.1, **options))
    np.testing.assert_allclose([w for w, _ in path], scalar(kernel, W0), rtol=1e-5)
    np.testing.assert_allclose([b for _, b in path], scalar(bias, B0), rtol=1e-5)


def test_coupled_and_decoupled_decay_agree_for_sgd_and_differ_for_momentum():
    coupled, decoupled = (three_steps(optimizers.create("sgd", 0.1, **{k: 0.5})) for k in ("l2", "weight_decay"))
    np.testing.assert_allclose(coupled, decoupled, rtol=1e-6)
    coupled, decoupled = (three_steps(optimizers.create("momentum", 0.1, **{k: 0.5})) for k in ("l2", "weight_decay"))
    assert abs(coupled[-1][0] - decoupled[-1][0]) > 1e-2


def test_clipping_scales_the_whole_gradient():
    (w, b), *_ = three_steps(optimizers.create("sgd", 0.1, clip_norm=1.0))
    norm = (W0**2 + B0**2) ** 0.5
    np.testing.assert_allclose([w, b], [W0 - 0.1 * W0 / norm, B0 - 0.1 * B0 / norm], rtol=1e-6)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("adamw", {"momentum": 0.9}, "'adamw' takes no option 'momentum'"),
        ("adam", {"weight_decay": 0.1}, "takes no option 'weight_decay'"),
        ("adma", {}, "did you mean 'adam'"),
    ],
)
def test_errors(name, options, message):
    with pytest.raises(ConfigError, match=message):
        optimizers.create(name, 0.1, **options)
