"""Optimizers by name, with every option declared. Defaults are those of the papers unless noted otherwise.

Two things are called weight decay. `l2` is coupled: l2 * w is added to the gradient before the
optimizer sees it, so momentum and adaptive scaling act on it too (the "weight decay" of Karpathy 2014
and of most papers with SGD). `weight_decay` is decoupled: learning rate * weight_decay * w is subtracted from
the parameter in addition to the optimizer's own step (Loshchilov & Hutter 2019). Neither applies to biases and
normalization scales unless `decay_all` is set.

In the equations g is the gradient, t the step, from 1 on, and the update is -learning rate * d.
Every update is linear in the learning rate, so multipliers and the plateau factor can be applied at the end.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import optax
from optax import GradientTransformation as Optimizer
from optax import ScalarOrSchedule as Rate

from vidjax.errors import ConfigError
from vidjax.options import choosing as _options
from vidjax.options.declaring import Option
from vidjax.training import parameter_groups
from vidjax.training.transforms import (
    add_decay,
    as_matrices,
    chain_update,
    label_kernels,
    scale_by_adagrad,
    scale_by_centered_rms,
)

Momentum = Annotated[float, Option("momentum", at_least=0, below=1)]
LookAhead = Annotated[bool, Option("Nesterov momentum")]
B1 = Annotated[float, Option("decay rate of the first moment", at_least=0, below=1)]
B2 = Annotated[float, Option("decay rate of the second moment; lion: of the momentum", at_least=0, below=1)]
Eps = Annotated[float, Option("added to the denominator of the update", above=0)]
L2 = Annotated[float, Option("coupled weight decay: L2 added to the gradient", at_least=0)]
WeightDecay = Annotated[float, Option("decoupled weight decay", at_least=0)]
DecayAll = Annotated[bool, Option("also decay biases and normalization parameters")]


def sgd(rate: Rate, *, l2: L2 = 0.0, weight_decay: WeightDecay = 0.0, decay_all: DecayAll = False) -> Optimizer:
    """Plain stochastic gradient descent: d = g."""
    return chain_update(optax.identity(), rate, l2, weight_decay, decay_all)


def momentum(
    rate: Rate,
    *,
    momentum: Momentum = 0.9,
    l2: L2 = 0.0,
    weight_decay: WeightDecay = 0.0,
    decay_all: DecayAll = False,
) -> Optimizer:
    """Heavy-ball momentum (Polyak 1964): v = momentum * v + g; d = v, as in PyTorch (no damping 1 - momentum)."""
    return chain_update(optax.trace(momentum), rate, l2, weight_decay, decay_all)


def nesterov(
    rate: Rate, *, momentum: Momentum = 0.9, l2: L2 = 0.0, weight_decay: WeightDecay = 0.0, decay_all: DecayAll = False
) -> Optimizer:
    """Nesterov momentum (Sutskever et al. 2013), in PyTorch's form: v = momentum * v + g; d = g + momentum * v."""
    return chain_update(optax.trace(momentum, nesterov=True), rate, l2, weight_decay, decay_all)


def rmsprop(
    rate: Rate,
    *,
    decay: Annotated[float, Option("decay rate of the mean square", at_least=0, below=1)] = 0.9,
    eps: Eps = 1e-8,
    momentum: Momentum = 0.0,
    centered: Annotated[bool, Option("use the centered second moment (variance)")] = False,
    l2: L2 = 0.0,
    decay_all: DecayAll = False,
) -> Optimizer:
    """RMSprop (Tieleman & Hinton 2012, lecture 6.5): n = decay * n + (1 - decay) * g^2; d = g / (sqrt(n) + eps).

    Decay 0.9 is the lecture's, which has no eps; PyTorch uses 0.99. eps is outside the root as in PyTorch; in Optax and
    TensorFlow it is inside.
    Centered (Graves 2013): the variance n - mean(g)^2 instead of n, clipped at 0 where rounding makes it negative.
    """
    direction = scale_by_centered_rms(decay, eps) if centered else optax.scale_by_rms(decay, eps, eps_in_sqrt=False)
    return chain_update(
        optax.chain(direction, optax.trace(momentum)) if momentum else direction, rate, l2, 0.0, decay_all
    )


def adagrad(
    rate: Rate,
    *,
    eps: Eps = 1e-10,
    initial_accumulator: Annotated[float, Option("initial sum of squares", at_least=0)] = 0.0,
    l2: L2 = 0.0,
    decay_all: DecayAll = False,
) -> Optimizer:
    """Adagrad (Duchi et al. 2011, diagonal): s = s + g^2; d = g / (sqrt(s) + eps).

    As in the paper and PyTorch. Optax starts s at 0.1 and has eps 1e-7 inside the root, which shortens the first steps.
    """
    return chain_update(scale_by_adagrad(eps, initial_accumulator), rate, l2, 0.0, decay_all)


def adadelta(
    rate: Rate,
    *,
    rho: Annotated[float, Option("decay rate of both averages", at_least=0, below=1)] = 0.95,
    eps: Eps = 1e-6,
    l2: L2 = 0.0,
    decay_all: DecayAll = False,
) -> Optimizer:
    """Adadelta (Zeiler 2012): d = sqrt(E[d^2] + eps) / sqrt(E[g^2] + eps) * g, averages with decay rho.

    The paper has no learning rate, i.e. a rate of 1; use a rate near that. rho 0.95 is the paper's; Optax and PyTorch
    use 0.9.
    """
    return chain_update(optax.scale_by_adadelta(rho, eps), rate, l2, 0.0, decay_all)


def adam(
    rate: Rate, *, b1: B1 = 0.9, b2: B2 = 0.999, eps: Eps = 1e-8, l2: L2 = 0.0, decay_all: DecayAll = False
) -> Optimizer:
    """Adam (Kingma & Ba 2015), with optional coupled L2."""
    return chain_update(optax.scale_by_adam(b1, b2, eps), rate, l2, 0.0, decay_all)


def adamw(
    rate: Rate,
    *,
    b1: B1 = 0.9,
    b2: B2 = 0.999,
    eps: Eps = 1e-8,
    weight_decay: WeightDecay = 1e-2,
    decay_all: DecayAll = False,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, who tune it). 0.01 is PyTorch's; Optax has 1e-4."""
    return chain_update(optax.scale_by_adam(b1, b2, eps), rate, 0.0, weight_decay, decay_all)


def nadam(
    rate: Rate, *, b1: B1 = 0.9, b2: B2 = 0.999, eps: Eps = 1e-8, l2: L2 = 0.0, decay_all: DecayAll = False
) -> Optimizer:
    """Nadam (Dozat 2016): Adam with Nesterov's look-ahead on the first moment.

    b1 is constant, as in Optax; Dozat, PyTorch and Keras raise it by the schedule 1 - 0.5 * 0.96^(t / 250). The
    numerator is b1 * m_t / (1 - b1^(t+1)) + (1 - b1) * g / (1 - b1^t).
    """
    return chain_update(optax.scale_by_adam(b1, b2, eps, nesterov=True), rate, l2, 0.0, decay_all)


def nadamw(
    rate: Rate,
    *,
    b1: B1 = 0.9,
    b2: B2 = 0.999,
    eps: Eps = 1e-8,
    weight_decay: WeightDecay = 1e-2,
    decay_all: DecayAll = False,
) -> Optimizer:
    """Nadam with decoupled weight decay, 0.01 by default as in `adamw`; Optax has 1e-4."""
    return chain_update(optax.scale_by_adam(b1, b2, eps, nesterov=True), rate, 0.0, weight_decay, decay_all)


def adamax(
    rate: Rate, *, b1: B1 = 0.9, b2: B2 = 0.999, eps: Eps = 1e-8, l2: L2 = 0.0, decay_all: DecayAll = False
) -> Optimizer:
    """Adamax (Kingma & Ba 2015, section 7.1): Adam with the infinity norm, u = max(b2 * u, |g| + eps).

    The paper has no eps, and a rate of 0.002; eps as in PyTorch and Optax.
    """
    return chain_update(optax.scale_by_adamax(b1, b2, eps), rate, l2, 0.0, decay_all)


def lamb(
    rate: Rate,
    *,
    b1: B1 = 0.9,
    b2: B2 = 0.999,
    eps: Eps = 1e-6,
    weight_decay: WeightDecay = 1e-2,
    decay_all: DecayAll = False,
) -> Optimizer:
    """LAMB (You et al. 2020): d = |w| / |u| * u for each parameter array, u = Adam's d + weight_decay * w.

    |w| is not clipped, and the ratio is 1 where a norm is 0; biases are scaled by their own ratio, too. Decay and eps
    are the paper's (Optax: no decay).
    """
    adaptive = [optax.scale_by_adam(b1, b2, eps), add_decay(weight_decay, decay_all), optax.scale_by_trust_ratio()]
    return chain_update(optax.chain(*adaptive), rate, 0.0, 0.0, decay_all)


def lion(
    rate: Rate, *, b1: B1 = 0.9, b2: B2 = 0.99, weight_decay: WeightDecay = 0.0, decay_all: DecayAll = False
) -> Optimizer:
    """Lion (Chen et al. 2023): d = sign(b1 * m + (1 - b1) * g); m = b2 * m + (1 - b2) * g.

    Use rates 3 to 10 times smaller than AdamW's. No weight decay by default, as in the authors' code (Optax: 1e-3).
    """
    return chain_update(optax.scale_by_lion(b1, b2), rate, 0.0, weight_decay, decay_all)


def muon(
    rate: Rate,
    *,
    momentum: Momentum = 0.95,
    nesterov: LookAhead = True,
    newton_schulz_steps: Annotated[int, Option("Newton-Schulz iterations", at_least=1)] = 5,
    consistent_rms: Annotated[float | None, Option("update RMS that makes AdamW's rates usable (0.2)", above=0)] = None,
    adam_ratio: Annotated[
        float, Option("learning rate of biases and normalization relative to kernels", at_least=0)
    ] = 0.015,
    b1: B1 = 0.9,
    b2: B2 = 0.95,
    weight_decay: WeightDecay = 0.0,
    decay_all: DecayAll = False,
) -> Optimizer:
    """Muon (Jordan 2024): momentum orthogonalized by Newton-Schulz iteration for kernels, Adam for the rest.

    A kernel is any parameter with two or more axes, including the classifier's (which Jordan leaves to Adam). A
    convolution kernel [..., in, out] is read as the matrix [... * in, out]. Optax applies bias correction to the
    momentum, Jordan's code does not: after orthogonalization only the weight of g in the look-ahead differs. The other
    parameters get Adam as in Jordan's code; `optax.contrib.muon` would use Nadam.

    Args:
      rate: learning rate of the kernels; 0.02 in Jordan's code.
      momentum: of the kernels.
      nesterov: Nesterov momentum.
      newton_schulz_steps: number of iterations.
      consistent_rms: c; updates are scaled by c * sqrt(max(in, out)) (Liu et al. 2025: 0.2, with AdamW's rates and
        adam_ratio 1) instead of sqrt(max(1, out / in)).
      adam_ratio: learning rate of the other parameters (biases, normalization) relative to the kernels: 3e-4 / 0.02 in
        Jordan's code, which b1, b2 and eps (1e-10) of Adam are from, too.
      b1: of Adam.
      b2: of Adam.
      weight_decay: decoupled.
      decay_all: also decay the other parameters, at the learning rate of the kernels.
    """
    orthogonal = optax.contrib.muon(
        1.0,
        beta=momentum,
        nesterov=nesterov,
        ns_steps=newton_schulz_steps,
        consistent_rms=consistent_rms,
        muon_weight_dimension_numbers=as_matrices,
    )
    # With `nesterov`, Optax's own Adam for the rest would be Nadam; Jordan's is not.
    parts = {
        "kernel": optax.chain(orthogonal, optax.scale(-1.0)),
        "rest": optax.chain(optax.scale_by_adam(b1, b2, eps=1e-10), optax.scale(adam_ratio)),
    }
    return chain_update(optax.partition(parts, label_kernels), rate, 0.0, weight_decay, decay_all)


def adafactor(
    rate: Rate,
    *,
    decay_rate: Annotated[float, Option("exponent of the decay of the second moment", above=0)] = 0.8,
    clipping_threshold: Annotated[float, Option("maximum RMS of an update", above=0)] = 1.0,
    parameter_scale: Annotated[bool, Option("scale updates by the RMS of the parameters")] = True,
    min_size_to_factor: Annotated[int, Option("minimum axis size for factoring", at_least=1)] = 128,
    momentum: Momentum = 0.0,
    weight_decay: WeightDecay = 0.0,
    decay_all: DecayAll = False,
) -> Optimizer:
    """Adafactor (Shazeer & Stern 2018, algorithm 4): g over a factored estimate of its root mean square.

    The decay of the estimate is 1 - t^-decay_rate; updates whose RMS exceeds the threshold are scaled down to it; with
    parameter_scale they are then multiplied by max(1e-3, RMS(w)), so the learning rate is relative (paper: 1e-2). As in
    Optax, parameters without two axes of at least min_size_to_factor are not factored (the paper factors all).
    """
    descent = optax.adafactor(
        None,
        decay_rate=decay_rate,
        clipping_threshold=clipping_threshold,
        multiply_by_parameter_scale=parameter_scale,
        min_dim_size_to_factor=min_size_to_factor,
        momentum=momentum or None,
    )
    return chain_update(optax.chain(descent, optax.scale(-1.0)), rate, 0.0, weight_decay, decay_all)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "rmsprop": rmsprop,
    "adagrad": adagrad,
    "adadelta": adadelta,
    "adam": adam,
    "adamw": adamw,
    "nadam": nadam,
    "nadamw": nadamw,
    "adamax": adamax,
    "lamb": lamb,
    "lion": lion,
    "muon": muon,
    "adafactor": adafactor,
}


def create(
    name: str,
    learning_rate: Rate,
    *,
    clip_norm: float | None = None,
    multipliers: Mapping[str, float] | None = None,
    freeze: parameter_groups.Frozen = parameter_groups.NOTHING,
    **options: Any,
) -> Optimizer:
    """Builds the optimizer `name`.

    Args:
      name: a key of `OPTIMIZERS`.
      learning_rate: a number or a schedule.
      clip_norm: maximum global L2 norm of the gradient; larger gradients are scaled down first.
      multipliers: pattern of parameter paths -> learning rate factor (`parameter_groups.scale_by_multipliers`).
      freeze: which parameters are not trained.
      **options: of the optimizer; None means its default.

    Raises:
      ConfigError: for an unknown name or an option that the optimizer does not take.
    """
    if clip_norm is not None and not 0 < clip_norm < math.inf:
        raise ConfigError(f"clip_norm={clip_norm} must be a finite number above 0, or None")
    optimizer = _options.build("optimizer", OPTIMIZERS, name, learning_rate, options=options)
    if clip_norm:
        optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
    if multipliers:
        optimizer = optax.chain(optimizer, parameter_groups.scale_by_multipliers(multipliers))
    return parameter_groups.freeze(optimizer, freeze) if freeze else optimizer
