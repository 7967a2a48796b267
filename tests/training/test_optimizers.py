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


def rmsprop(rate, decay=0.9, eps=1e-8, mu=0.0, centered=False, l2=0.0):
    def update(w, memory, t):
        n, mean, v = memory if len(memory) == 3 else (0.0, 0.0, 0.0)
        g = w + l2 * w
        n, mean = decay * n + (1 - decay) * g**2, decay * mean + (1 - decay) * g
        v = mu * v + g / ((n - mean**2 if centered else n) ** 0.5 + eps)
        return w - rate * v, (n, mean, v)

    return update


def adagrad(rate, start=0.0, eps=1e-10, l2=0.0):
    def update(w, memory, t):
        g = w + l2 * w
        s = (start if t == 1 else memory[0]) + g**2
        return w - rate * g / (s**0.5 + eps), (s, 0.0)

    return update


def adadelta(rate, rho=0.95, eps=1e-6):
    def update(w, memory, t):
        squares, steps = memory
        squares = rho * squares + (1 - rho) * w**2
        d = ((steps + eps) / (squares + eps)) ** 0.5 * w
        return w - rate * d, (squares, rho * steps + (1 - rho) * d**2)

    return update


def nadam(rate, b1=0.9, b2=0.999, eps=1e-8, decay=0.0):
    def update(w, memory, t):
        m, v = b1 * memory[0] + (1 - b1) * w, b2 * memory[1] + (1 - b2) * w**2
        ahead = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * w / (1 - b1**t)
        return w - rate * (ahead / ((v / (1 - b2**t)) ** 0.5 + eps) + decay * w), (m, v)

    return update


def adamax(rate, b1=0.9, b2=0.999, eps=1e-8):
    def update(w, memory, t):
        m, u = b1 * memory[0] + (1 - b1) * w, max(b2 * memory[1], abs(w) + eps)
        return w - rate / (1 - b1**t) * m / u, (m, u)

    return update


def lamb(rate, b1=0.9, b2=0.999, eps=1e-6, decay=0.01):
    def update(w, memory, t):
        m, v = b1 * memory[0] + (1 - b1) * w, b2 * memory[1] + (1 - b2) * w**2
        u = m / (1 - b1**t) / ((v / (1 - b2**t)) ** 0.5 + eps) + decay * w
        return w - rate * abs(w) / abs(u) * u, (m, v)

    return update


def lion(rate, b1=0.9, b2=0.99, decay=0.0):
    def update(w, memory, t):
        d = np.sign(b1 * memory[0] + (1 - b1) * w)
        return w - rate * (d + decay * w), (b2 * memory[0] + (1 - b2) * w, 0.0)

    return update


def adafactor(rate, exponent=0.8, relative=True, decay=0.0):
    """One parameter: the update is clipped by its size to 1."""

    def update(w, memory, t):
        beta = 1 - t**-exponent
        v = beta * memory[0] + (1 - beta) * (w**2 + 1e-30)
        u = w / v**0.5
        u /= max(1.0, abs(u))
        return w - rate * (u * (max(1e-3, abs(w)) if relative else 1.0) + decay * w), (v, 0.0)

    return update


CASES = [
    ("sgd", {}, sgd(0.1), sgd(0.1)),
    ("sgd", {"l2": 0.5}, sgd(0.1, l2=0.5), sgd(0.1)),
    ("sgd", {"weight_decay": 0.5}, sgd(0.1, decay=0.5), sgd(0.1)),
    ("momentum", {}, momentum(0.1), momentum(0.1)),
    ("momentum", {"nesterov": True, "momentum": 0.8}, momentum(0.1, 0.8, True), momentum(0.1, 0.8, True)),
    ("momentum", {"l2": 0.5, "decay_all": True}, momentum(0.1, l2=0.5), momentum(0.1, l2=0.5)),
    ("nesterov", {}, momentum(0.1, nesterov=True), momentum(0.1, nesterov=True)),
    ("nesterov", {"momentum": 0.5, "l2": 0.1}, momentum(0.1, 0.5, True, l2=0.1), momentum(0.1, 0.5, True)),
    ("rmsprop", {}, rmsprop(0.1), rmsprop(0.1)),
    ("rmsprop", {"momentum": 0.9, "decay": 0.99}, rmsprop(0.1, 0.99, mu=0.9), rmsprop(0.1, 0.99, mu=0.9)),
    ("rmsprop", {"centered": True, "l2": 0.5}, rmsprop(0.1, centered=True, l2=0.5), rmsprop(0.1, centered=True)),
    ("rmsprop", {"eps": 0.5}, rmsprop(0.1, eps=0.5), rmsprop(0.1, eps=0.5)),
    ("adagrad", {}, adagrad(0.1), adagrad(0.1)),
    ("adagrad", {"initial_accumulator": 0.5, "l2": 0.5}, adagrad(0.1, 0.5, l2=0.5), adagrad(0.1, 0.5)),
    ("adadelta", {}, adadelta(0.1), adadelta(0.1)),
    ("adadelta", {"rho": 0.9, "eps": 1e-2}, adadelta(0.1, 0.9, 1e-2), adadelta(0.1, 0.9, 1e-2)),
    ("adam", {}, adam(0.1), adam(0.1)),
    ("adam", {"l2": 0.5, "b1": 0.8}, adam(0.1, 0.8, l2=0.5), adam(0.1, 0.8)),
    ("adamw", {}, adam(0.1, decay=0.01), adam(0.1)),
    ("adamw", {"weight_decay": 0.5, "b2": 0.9}, adam(0.1, b2=0.9, decay=0.5), adam(0.1, b2=0.9)),
    ("nadam", {}, nadam(0.1), nadam(0.1)),
    ("nadamw", {"weight_decay": 0.5, "b1": 0.8}, nadam(0.1, 0.8, decay=0.5), nadam(0.1, 0.8)),
    ("adamax", {}, adamax(0.1), adamax(0.1)),
    ("adamax", {"b1": 0.5, "b2": 0.5}, adamax(0.1, 0.5, 0.5), adamax(0.1, 0.5, 0.5)),
    ("lamb", {}, lamb(0.1), lamb(0.1, decay=0.0)),
    ("lamb", {"weight_decay": 0.5, "b2": 0.9}, lamb(0.1, b2=0.9, decay=0.5), lamb(0.1, b2=0.9, decay=0.0)),
    ("lion", {}, lion(0.1), lion(0.1)),
    ("lion", {"weight_decay": 0.5, "b1": 0.1, "b2": 0.5}, lion(0.1, 0.1, 0.5, 0.5), lion(0.1, 0.1, 0.5)),
    ("adafactor", {}, adafactor(0.1), adafactor(0.1)),
    ("adafactor", {"parameter_scale": False, "decay_rate": 0.5}, *[adafactor(0.1, 0.5, relative=False)] * 2),
    ("adafactor", {"weight_decay": 0.5}, adafactor(0.1, decay=0.5), adafactor(0.1)),
]


@pytest.mark.parametrize("name, options, kernel, bias", CASES)
def test_three_steps_on_a_quadratic(name, options, kernel, bias):
    path = three_steps(optimizers.create(name, 0.1, **options))
    np.testing.assert_allclose([w for w, _ in path], scalar(kernel, W0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose([b for _, b in path], scalar(bias, B0), rtol=1e-5, atol=1e-6)


def test_every_optimizer_has_a_case():
    assert {name for name, *_ in CASES} | {"muon"} == optimizers.OPTIMIZERS.keys()


def orthogonal(matrix):
    """Five Newton-Schulz iterations as on Jordan's page."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / np.linalg.norm(x)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


@pytest.mark.parametrize("shape", [(3, 4), (2, 2, 3, 5)])
def test_three_muon_steps_on_a_quadratic(shape):
    """Kernels are orthogonalised as matrices [everything else, output]; the bias gets Adam at its own rate."""
    start = np.random.default_rng(0).normal(size=shape)
    optimizer = optimizers.create("muon", 0.1, adam_ratio=0.5, weight_decay=0.3)
    params = {"kernel": jnp.array(start), "bias": jnp.full((1,), B0)}
    state = optimizer.init(params)
    w, m = start.reshape(-1, shape[-1]), 0.0
    rows, columns = w.shape
    for t in range(1, 4):
        updates, state = optimizer.update(params, state, params)
        params = optax.apply_updates(params, updates)
        m = 0.95 * m + 0.05 * w
        ahead = 0.95 * m / (1 - 0.95 ** (t + 1)) + 0.05 * w / (1 - 0.95**t)
        w = w - 0.1 * (max(1, columns / rows) ** 0.5 * orthogonal(ahead) + 0.3 * w)
    np.testing.assert_allclose(params["kernel"].reshape(w.shape), w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(params["bias"], scalar(adam(0.05, b2=0.95), B0)[-1:], rtol=1e-5)


def test_muon_with_consistent_size_of_a_step():
    """The root mean square of a step is near 0.2 whatever the shape; orthogonalisation leaves it 0.7 to 1.2 of that."""
    for shape in [(8, 100), (100, 8), (3, 3, 4, 16)]:
        params = {"kernel": jnp.array(np.random.default_rng(0).normal(size=shape))}
        optimizer = optimizers.create("muon", 1.0, consistent_rms=0.2)
        updates, _ = optimizer.update(params, optimizer.init(params), params)
        assert 0.6 * 0.2 < float(jnp.sqrt((updates["kernel"] ** 2).mean())) < 1.3 * 0.2


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
        ("adamm", {}, "did you mean 'adam'"),
    ],
)
def test_errors(name, options, message):
    with pytest.raises(ConfigError, match=message):
        optimizers.create(name, 0.1, **options)
