import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.refusals import refused
from vidjax.errors import ConfigError
from vidjax.options.signatures import accepted as options_of
from vidjax.training import optimizers
from vidjax.training.parameter_groups import Frozen

# A quadratic sum_i a_i (w_i - c_i)^2 / 2 with gradient a (w - c): curvatures and sizes differ from number to number,
# and some gradients change their sign within three steps, so that nothing cancels in ratios, norms or signs.
START = {"kernel": np.array([[2.0, 0.104, 1.3], [0.7, -2.2, 0.22]]), "bias": np.array([-1.0, 0.4])}
CURVATURE = {"kernel": np.array([[1.0, 0.3, 8.0], [14.0, 0.05, 2.0]]), "bias": np.array([0.5, 9.0])}
TARGET = {"kernel": np.array([[0.0, 0.2, 1.0], [0.5, -1.0, 0.3]]), "bias": np.array([0.1, 0.3])}


def gradient(name, w):
    return CURVATURE[name] * (w - TARGET[name])


def three_steps(optimizer):
    """The parameters after each of three steps."""
    params = {name: jnp.array(value) for name, value in START.items()}
    state = optimizer.init(params)
    path = []
    for _ in range(3):
        gradients = {name: gradient(name, value) for name, value in params.items()}
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        path.append({name: np.asarray(value) for name, value in params.items()})
    return path


def expected(update, name):
    """The same by `update(w, g, memory, t) -> (w, memory)`, written from the optimizer's paper."""
    w, memory, path = START[name], (0.0, 0.0), []
    for t in range(1, 4):
        w, memory = update(w, gradient(name, w), memory, t)
        path.append(w)
    return path


def sgd(rate, l2=0.0, decay=0.0):
    return lambda w, g, m, t: (w - rate * (g + l2 * w) - rate * decay * w, m)


def momentum(rate, mu=0.9, nesterov=False, l2=0.0, decay=0.0):
    def update(w, g, memory, t):
        g = g + l2 * w
        v = mu * memory[0] + g
        return w - rate * (g + mu * v if nesterov else v) - rate * decay * w, (v, 0.0)

    return update


def adam(rate, b1=0.9, b2=0.999, eps=1e-8, l2=0.0, decay=0.0):
    def update(w, g, memory, t):
        g = g + l2 * w
        m = b1 * memory[0] + (1 - b1) * g
        v = b2 * memory[1] + (1 - b2) * g**2
        step = (m / (1 - b1**t)) / ((v / (1 - b2**t)) ** 0.5 + eps)
        return w - rate * (step + decay * w), (m, v)

    return update


def rmsprop(rate, decay=0.9, eps=1e-8, mu=0.0, centered=False, l2=0.0):
    def update(w, g, memory, t):
        n, mean, v = memory if len(memory) == 3 else (0.0, 0.0, 0.0)
        g = g + l2 * w
        n, mean = decay * n + (1 - decay) * g**2, decay * mean + (1 - decay) * g
        v = mu * v + g / ((n - mean**2 if centered else n) ** 0.5 + eps)
        return w - rate * v, (n, mean, v)

    return update


def adagrad(rate, start=0.0, eps=1e-10, l2=0.0):
    def update(w, g, memory, t):
        g = g + l2 * w
        s = (start if t == 1 else memory[0]) + g**2
        return w - rate * g / (s**0.5 + eps), (s, 0.0)

    return update


def adadelta(rate, rho=0.95, eps=1e-6, l2=0.0):
    def update(w, g, memory, t):
        g = g + l2 * w
        squares, steps = memory
        squares = rho * squares + (1 - rho) * g**2
        d = ((steps + eps) / (squares + eps)) ** 0.5 * g
        return w - rate * d, (squares, rho * steps + (1 - rho) * d**2)

    return update


def nadam(rate, b1=0.9, b2=0.999, eps=1e-8, l2=0.0, decay=0.0):
    def update(w, g, memory, t):
        g = g + l2 * w
        m, v = b1 * memory[0] + (1 - b1) * g, b2 * memory[1] + (1 - b2) * g**2
        ahead = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
        return w - rate * (ahead / ((v / (1 - b2**t)) ** 0.5 + eps) + decay * w), (m, v)

    return update


def adamax(rate, b1=0.9, b2=0.999, eps=1e-8, l2=0.0):
    def update(w, g, memory, t):
        g = g + l2 * w
        m, u = b1 * memory[0] + (1 - b1) * g, np.maximum(b2 * memory[1], abs(g) + eps)
        return w - rate / (1 - b1**t) * m / u, (m, u)

    return update


def lamb(rate, b1=0.9, b2=0.999, eps=1e-6, decay=0.01):
    def update(w, g, memory, t):
        m, v = b1 * memory[0] + (1 - b1) * g, b2 * memory[1] + (1 - b2) * g**2
        u = m / (1 - b1**t) / ((v / (1 - b2**t)) ** 0.5 + eps) + decay * w
        return w - rate * np.linalg.norm(w) / np.linalg.norm(u) * u, (m, v)

    return update


def lion(rate, b1=0.9, b2=0.99, decay=0.0):
    def update(w, g, memory, t):
        d = np.sign(b1 * memory[0] + (1 - b1) * g)
        return w - rate * (d + decay * w), (b2 * memory[0] + (1 - b2) * g, 0.0)

    return update


def rms(x):
    return np.mean(np.square(x)) ** 0.5


def adafactor(rate, exponent=0.8, threshold=1.0, relative=True, factored=False, mu=0.0, decay=0.0):
    """Algorithm 4 of the paper, with a momentum of the updates."""

    def update(w, g, memory, t):
        beta, square = 1 - t**-exponent, g**2 + 1e-30
        if factored and w.ndim == 2:
            rows, columns, moved = memory if len(memory) == 3 else (0.0, 0.0, 0.0)
            rows = beta * rows + (1 - beta) * square.mean(axis=1)
            columns = beta * columns + (1 - beta) * square.mean(axis=0)
            memory, v = (rows, columns), np.outer(rows, columns) / rows.mean()
        else:
            v, moved = memory[0], memory[1]
            v = beta * v + (1 - beta) * square
            memory = (v,)
        u = g / v**0.5
        u = u / max(1.0, rms(u) / threshold) * rate
        u = u * (max(1e-3, rms(w)) if relative else 1.0)
        moved = mu * moved + (1 - mu) * u
        return w - moved - rate * decay * w, (*memory, moved)

    return update


# Name, options, and what they do to a kernel and to a bias.
CASES = [
    ("sgd", {}, sgd(0.1), sgd(0.1)),
    ("sgd", {"l2": 0.5}, sgd(0.1, l2=0.5), sgd(0.1)),
    ("sgd", {"weight_decay": 0.5, "decay_all": True}, sgd(0.1, decay=0.5), sgd(0.1, decay=0.5)),
    ("momentum", {}, momentum(0.1), momentum(0.1)),
    ("momentum", {"momentum": 0.8, "weight_decay": 0.5}, momentum(0.1, 0.8, decay=0.5), momentum(0.1, 0.8)),
    ("momentum", {"l2": 0.5, "decay_all": True}, momentum(0.1, l2=0.5), momentum(0.1, l2=0.5)),
    ("nesterov", {}, momentum(0.1, nesterov=True), momentum(0.1, nesterov=True)),
    ("nesterov", {"momentum": 0.5, "l2": 0.1}, momentum(0.1, 0.5, True, l2=0.1), momentum(0.1, 0.5, True)),
    ("nesterov", {"weight_decay": 0.5}, momentum(0.1, nesterov=True, decay=0.5), momentum(0.1, nesterov=True)),
    ("rmsprop", {}, rmsprop(0.1), rmsprop(0.1)),
    ("rmsprop", {"momentum": 0.9, "decay": 0.99}, rmsprop(0.1, 0.99, mu=0.9), rmsprop(0.1, 0.99, mu=0.9)),
    ("rmsprop", {"centered": True, "l2": 0.5}, rmsprop(0.1, centered=True, l2=0.5), rmsprop(0.1, centered=True)),
    ("rmsprop", {"eps": 0.5, "l2": 0.5, "decay_all": True}, *[rmsprop(0.1, eps=0.5, l2=0.5)] * 2),
    ("adagrad", {}, adagrad(0.1), adagrad(0.1)),
    ("adagrad", {"initial_accumulator": 0.5, "l2": 0.5}, adagrad(0.1, 0.5, l2=0.5), adagrad(0.1, 0.5)),
    ("adagrad", {"eps": 0.5, "l2": 0.5, "decay_all": True}, *[adagrad(0.1, eps=0.5, l2=0.5)] * 2),
    ("adadelta", {}, adadelta(0.1), adadelta(0.1)),
    ("adadelta", {"rho": 0.9, "eps": 1e-2, "l2": 0.5}, adadelta(0.1, 0.9, 1e-2, 0.5), adadelta(0.1, 0.9, 1e-2)),
    ("adam", {}, adam(0.1), adam(0.1)),
    ("adam", {"l2": 0.5, "b1": 0.8}, adam(0.1, 0.8, l2=0.5), adam(0.1, 0.8)),
    ("adam", {"b2": 0.9, "eps": 0.1, "l2": 0.5, "decay_all": True}, *[adam(0.1, b2=0.9, eps=0.1, l2=0.5)] * 2),
    ("adamw", {}, adam(0.1, decay=0.01), adam(0.1)),
    ("adamw", {"weight_decay": 0.5, "b1": 0.8, "b2": 0.9}, adam(0.1, 0.8, 0.9, decay=0.5), adam(0.1, 0.8, 0.9)),
    ("adamw", {"eps": 0.1, "decay_all": True}, *[adam(0.1, eps=0.1, decay=0.01)] * 2),
    ("nadam", {}, nadam(0.1), nadam(0.1)),
    ("nadam", {"l2": 0.5, "b2": 0.9, "eps": 0.1}, nadam(0.1, b2=0.9, eps=0.1, l2=0.5), nadam(0.1, b2=0.9, eps=0.1)),
    ("nadam", {"b1": 0.5}, nadam(0.1, 0.5), nadam(0.1, 0.5)),
    ("nadamw", {}, nadam(0.1, decay=0.01), nadam(0.1)),
    ("nadamw", {"weight_decay": 0.5, "b1": 0.8}, nadam(0.1, 0.8, decay=0.5), nadam(0.1, 0.8)),
    ("nadamw", {"b2": 0.9, "eps": 0.1, "decay_all": True}, *[nadam(0.1, b2=0.9, eps=0.1, decay=0.01)] * 2),
    ("adamax", {}, adamax(0.1), adamax(0.1)),
    ("adamax", {"b1": 0.5, "b2": 0.5, "l2": 0.5}, adamax(0.1, 0.5, 0.5, l2=0.5), adamax(0.1, 0.5, 0.5)),
    ("adamax", {"eps": 0.5}, adamax(0.1, eps=0.5), adamax(0.1, eps=0.5)),
    ("lamb", {}, lamb(0.1), lamb(0.1, decay=0.0)),
    (
        "lamb",
        {"weight_decay": 0.5, "b1": 0.5, "b2": 0.9},
        lamb(0.1, 0.5, 0.9, decay=0.5),
        lamb(0.1, 0.5, 0.9, decay=0.0),
    ),
    ("lamb", {"eps": 0.1, "decay_all": True}, lamb(0.1, eps=0.1), lamb(0.1, eps=0.1)),
    ("lion", {}, lion(0.1), lion(0.1)),
    ("lion", {"weight_decay": 0.5, "b1": 0.7}, lion(0.1, 0.7, decay=0.5), lion(0.1, 0.7)),
    ("lion", {"b2": 0.1}, lion(0.1, b2=0.1), lion(0.1, b2=0.1)),
    ("adafactor", {}, adafactor(0.1), adafactor(0.1)),
    ("adafactor", {"parameter_scale": False, "decay_rate": 0.5}, *[adafactor(0.1, 0.5, relative=False)] * 2),
    (
        "adafactor",
        {"weight_decay": 0.5, "clipping_threshold": 0.2},
        adafactor(0.1, threshold=0.2, decay=0.5),
        adafactor(0.1, threshold=0.2),
    ),
    ("adafactor", {"min_size_to_factor": 2}, adafactor(0.1, factored=True), adafactor(0.1)),
    ("adafactor", {"momentum": 0.9, "min_size_to_factor": 2}, *[adafactor(0.1, factored=True, mu=0.9)] * 2),
]


@pytest.mark.parametrize("name, options, kernel, bias", CASES)
def test_three_steps_on_a_quadratic(name, options, kernel, bias):
    path = three_steps(optimizers.create(name, 0.1, **options))
    for part, update in (("kernel", kernel), ("bias", bias)):
        for got, want in zip(path, expected(update, part)):
            np.testing.assert_allclose(got[part], want, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", sorted({name for name, *_ in CASES}))
def test_every_option_of_a_case_makes_a_difference(name):
    """An option that is dropped on the way, or a case that cannot tell, fails here."""
    default = three_steps(optimizers.create(name, 0.1))
    for case, options, *_ in CASES:
        for key, value in options.items() if case == name else ():
            rest = {k: v for k, v in options.items() if k != key}
            without = three_steps(optimizers.create(name, 0.1, **rest)) if rest else default
            given = three_steps(optimizers.create(name, 0.1, **options))
            moved = max(np.abs(a[part] - b[part]).max() for a, b in zip(given, without) for part in START)
            assert moved > 1e-4, f"{name}: {key}={value} changes nothing beside {rest}"


def test_every_option_of_an_optimizer_has_a_case():
    for name, function in optimizers.OPTIMIZERS.items():
        if name != "muon":  # below
            taken = {key for case, options, *_ in CASES if case == name for key in options}
            assert set(options_of(function)) - {"decay_all"} <= taken, name


def test_centered_rmsprop_bears_a_steady_gradient():
    """The mean square minus the squared mean rounds to a negative number, whose root would be nan."""
    optimizer = optimizers.create("rmsprop", 0.1, centered=True)
    params = {"kernel": jnp.ones((2, 2))}
    state = optimizer.init(params)
    for _ in range(300):
        updates, state = optimizer.update({"kernel": jnp.full((2, 2), 0.3)}, state, params)
        assert np.isfinite(updates["kernel"]).all()


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
    """Kernels are orthogonalized as matrices [everything else, output]; the bias gets Adam at its own rate."""
    start = np.random.default_rng(0).normal(size=shape)
    optimizer = optimizers.create("muon", 0.1, adam_ratio=0.5, weight_decay=0.3)
    params = {"kernel": jnp.array(start), "bias": jnp.array(START["bias"])}
    state = optimizer.init(params)
    w, m = start.reshape(-1, shape[-1]), 0.0
    rows, columns = w.shape
    for t in range(1, 4):
        gradients = {"kernel": params["kernel"], "bias": gradient("bias", params["bias"])}
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        m = 0.95 * m + 0.05 * w
        ahead = 0.95 * m / (1 - 0.95 ** (t + 1)) + 0.05 * w / (1 - 0.95**t)
        w = w - 0.1 * (max(1, columns / rows) ** 0.5 * orthogonal(ahead) + 0.3 * w)
    np.testing.assert_allclose(params["kernel"].reshape(w.shape), w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(params["bias"], expected(adam(0.05, b2=0.95, eps=1e-10), "bias")[-1], rtol=1e-5)


def test_muon_with_consistent_size_of_a_step():
    """The root mean square of a step is near 0.2 whatever the shape; orthogonalization leaves it 0.7 to 1.2 of that."""
    for shape in [(8, 100), (100, 8), (3, 3, 4, 16)]:
        params = {"kernel": jnp.array(np.random.default_rng(0).normal(size=shape))}
        optimizer = optimizers.create("muon", 1.0, consistent_rms=0.2)
        updates, _ = optimizer.update(params, optimizer.init(params), params)
        assert 0.6 * 0.2 < float(jnp.sqrt((updates["kernel"] ** 2).mean())) < 1.3 * 0.2


def test_coupled_and_decoupled_decay_agree_for_sgd_and_differ_for_momentum():
    coupled, decoupled = (three_steps(optimizers.create("sgd", 0.1, **{k: 0.5})) for k in ("l2", "weight_decay"))
    np.testing.assert_allclose(coupled[-1]["kernel"], decoupled[-1]["kernel"], rtol=1e-6)
    coupled, decoupled = (three_steps(optimizers.create("momentum", 0.1, **{k: 0.5})) for k in ("l2", "weight_decay"))
    assert np.abs(coupled[-1]["kernel"] - decoupled[-1]["kernel"]).max() > 1e-2


def test_clipping_scales_the_whole_gradient():
    first = three_steps(optimizers.create("sgd", 0.1, clip_norm=1.0))[0]
    gradients = {name: gradient(name, w) for name, w in START.items()}
    norm = sum(np.square(g).sum() for g in gradients.values()) ** 0.5
    for name, w in START.items():
        np.testing.assert_allclose(first[name], w - 0.1 * gradients[name] / norm, rtol=1e-6)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_multipliers_scale_the_step_and_the_decay(name):
    options = {"weight_decay": 0.5} if "weight_decay" in options_of(optimizers.OPTIMIZERS[name]) else {}
    plain = three_steps(optimizers.create(name, 0.1, **options))[0]
    scaled = three_steps(optimizers.create(name, 0.1, multipliers={"kernel": 3.0}, **options))[0]
    np.testing.assert_allclose(scaled["kernel"] - START["kernel"], 3 * (plain["kernel"] - START["kernel"]), rtol=1e-3)
    np.testing.assert_array_equal(scaled["bias"], plain["bias"])


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_what_is_frozen_does_not_move_and_has_no_part_in_the_clipped_norm(name):
    options = {"weight_decay": 0.5} if "weight_decay" in options_of(optimizers.OPTIMIZERS[name]) else {}
    frozen = three_steps(optimizers.create(name, 0.1, clip_norm=0.1, freeze=Frozen(("kernel",)), **options))[-1]
    np.testing.assert_array_equal(frozen["kernel"], START["kernel"].astype(np.float32))
    assert np.abs(frozen["bias"] - START["bias"]).max() > 1e-6
    if name == "sgd":
        first = three_steps(optimizers.create(name, 0.1, clip_norm=0.1, freeze=Frozen(("kernel",))))[0]["bias"]
        g = gradient("bias", START["bias"])
        np.testing.assert_allclose(first, START["bias"] - 0.1 * 0.1 * g / np.linalg.norm(g), rtol=1e-6)


@pytest.mark.parametrize(
    "name, options, tokens",
    [
        ("adamw", {"momentum": 0.9}, ("'adamw'", "'momentum'")),
        ("adam", {"weight_decay": 0.1}, ("'adam'", "'weight_decay'", "sgd", "8")),
        ("adamm", {}, ("'adamm'", "'adam'")),
        ("adamw", {"l2": 0.1}, ("'adamw'", "'l2'", "sgd", "8")),
        ("adamw", {"betas": 0.1}, ("'adamw'", "'betas'", "weight_decay")),
        ("adamw", {"b1": 1.5}, ("b1=1.5", "0", "1")),
        ("sgd", {"clip_norm": float("nan")}, ("clip_norm=nan", "0")),
    ],
)
def test_errors(name, options, tokens):
    with refused(ConfigError, *tokens):
        optimizers.create(name, 0.1, **options)
