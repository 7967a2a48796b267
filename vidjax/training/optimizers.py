"""Optimizers, by name, with every keyword declared. Defaults are those of each optimizer's paper, or it says why not.

Two things are called weight decay. `l2` is coupled: l2 * w is added to the gradient before the
optimizer sees it, so momentum and adaptive scaling act on it too (the "weight decay" of Karpathy 2014
and of most papers with SGD). `weight_decay` is decoupled: learning rate * weight_decay * w is taken off
the parameter beside the optimizer's own step (Loshchilov & Hutter 2019). Neither touches biases and the
scales of normalisations unless `decay_all` is set.

In the equations g is the gradient, t the step from 1 on, and the parameter moves by -learning rate * d.
Every update is linear in the learning rate, so that one factor at the end scales it (multipliers, plateau).
"""

import math
from collections.abc import Callable, Mapping, Sequence
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

Momentum = Annotated[float, Option("of the gradient", at_least=0, below=1)]
LookAhead = Annotated[bool, Option("look ahead")]
B1 = Annotated[float, Option("decay of the mean of gradients", at_least=0, below=1)]
B2 = Annotated[float, Option("decay of the mean of their squares; lion: of its momentum", at_least=0, below=1)]
Eps = Annotated[float, Option("added to what the update is divided by", above=0)]
L2 = Annotated[float, Option("coupled decay, added to the gradient", at_least=0)]
WeightDecay = Annotated[float, Option("decoupled decay", at_least=0)]
DecayAll = Annotated[bool, Option("decay biases and normalisations too")]


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
    decay: Annotated[float, Option("of the mean square", at_least=0, below=1)] = 0.9,
    eps: Eps = 1e-8,
    momentum: Momentum = 0.0,
    centered: Annotated[bool, Option("the variance in the place of the mean square")] = False,
    l2: L2 = 0.0,
    decay_all: DecayAll = False,
) -> Optimizer:
    """RMSprop (Tieleman & Hinton 2012, lecture 6.5): n = decay * n + (1 - decay) * g^2; d = g / (sqrt(n) + eps).

    Decay 0.9 is the lecture's, which has no eps; PyTorch has decay 0.99. eps stands outside the root as in
    PyTorch; Optax and TensorFlow have it inside.
    Centered (Graves 2013): the variance n - mean(g)^2 in the place of n, held at 0 where rounding makes it negative.
    """
    direction = scale_by_centered_rms(decay, eps) if centered else optax.scale_by_rms(decay, eps, eps_in_sqrt=False)
    return chain_update(
        optax.chain(direction, optax.trace(momentum)) if momentum else direction, rate, l2, 0.0, decay_all
    )


def adagrad(
    rate: Rate,
    *,
    eps: Eps = 1e-10,
    initial_accumulator: Annotated[float, Option("sum of squares at the start", at_least=0)] = 0.0,
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
    rho: Annotated[float, Option("decay of both averages", at_least=0, below=1)] = 0.95,
    eps: Eps = 1e-6,
    l2: L2 = 0.0,
    decay_all: DecayAll = False,
) -> Optimizer:
    """Adadelta (Zeiler 2012): d = sqrt(E[d^2] + eps) / sqrt(E[g^2] + eps) * g, averages with decay rho.

    The paper has no learning rate: its own is 1, so set the rate near that. rho 0.95 is the
    paper's; Optax and PyTorch have 0.9.
    """
    return chain_update(optax.scale_by_adadelta(rho, eps), rate, l2, 0.0, decay_all)


def adam(
    rate: Rate, *, b1: B1 = 0.9, b2: B2 = 0.999, eps: Eps = 1e-8, l2: L2 = 0.0, decay_all: DecayAll = False
) -> Optimizer:
    """Adam (Kingma & Ba 2015), with coupled L2 by option."""
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
    """Adam with decoupled decay (Loshchilov & Hutter 2019, who tune it). 0.01 is PyTorch's; Optax has 1e-4."""
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
    """Nadam with decoupled decay, whose default is that of `adamw`; Optax has 1e-4."""
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

    |w| is not clipped and the ratio is 1 where a norm is 0; biases are scaled by theirs, too. Decay and eps
    are the paper's (Optax: no decay).
    """
    adaptive = [optax.scale_by_adam(b1, b2, eps), add_decay(weight_decay, decay_all), optax.scale_by_trust_ratio()]
    return chain_update(optax.chain(*adaptive), rate, 0.0, 0.0, decay_all)


def lion(
    rate: Rate, *, b1: B1 = 0.9, b2: B2 = 0.99, weight_decay: WeightDecay = 0.0, decay_all: DecayAll = False
) -> Optimizer:
    """Lion (Chen et al. 2023): d = sign(b1 * m + (1 - b1) * g); m = b2 * m + (1 - b2) * g.

    Its rates are 3 to 10 times smaller than AdamW's. Decay: none, as in its authors' code (Optax: 1e-3).
    """
    return chain_update(optax.scale_by_lion(b1, b2), rate, 0.0, weight_decay, decay_all)


def muon(
    rate: Rate,
    *,
    momentum: Momentum = 0.95,
    nesterov: LookAhead = True,
    newton_schulz_steps: Annotated[int, Option("of the iteration", at_least=1)] = 5,
    consistent_rms: Annotated[
        float | None, Option("size of a step, with which AdamW's rates fit (0.2)", above=0)
    ] = None,
    adam_ratio: Annotated[float, Option("rate of biases and normalisations over that of kernels", at_least=0)] = 0.015,
    b1: B1 = 0.9,
    b2: B2 = 0.95,
    weight_decay: WeightDecay = 0.0,
    decay_all: DecayAll = False,
) -> Optimizer:
    """Muon (Jordan 2024): momentum, made orthogonal by a Newton-Schulz iteration, for kernels; Adam for the rest.

    A kernel is any parameter of two or more axes, the classifier's too (Jordan leaves that to Adam). A
    convolution's [..., in, out] is the matrix [... * in, out]. Optax corrects the momentum for its start at
    zero, Jordan's code does not: after orthogonalisation only the share of g in the look-ahead differs. The
    rest gets Adam as in Jordan's code; `optax.contrib.muon` by itself gives it Nadam.

    Args:
      rate: of the kernels; 0.02 in Jordan's code.
      momentum: of the kernels.
      nesterov: look ahead.
      newton_schulz_steps: of the iteration.
      consistent_rms: c; steps are scaled by c * sqrt(max(in, out)) (Liu et al. 2025: 0.2, with AdamW's rates and
        adam_ratio 1) in the place of sqrt(max(1, out / in)).
      adam_ratio: rate of the other parameters, biases and normalisations, over that of the kernels: 3e-4 / 0.02 in
        Jordan's code, as are b1, b2 and eps (1e-10) of their Adam.
      b1: of Adam.
      b2: of Adam.
      weight_decay: decoupled.
      decay_all: decays what is no kernel, too, at the rate of the kernels.
    """
    orthogonal = optax.contrib.muon(
        1.0,
        beta=momentum,
        nesterov=nesterov,
        ns_steps=newton_schulz_steps,
        consistent_rms=consistent_rms,
        muon_weight_dimension_numbers=as_matrices,
    )
    # Optax's own Adam for the rest looks ahead, too, where `nesterov` is set; Jordan's does not.
    parts = {
        "kernel": optax.chain(orthogonal, optax.scale(-1.0)),
        "rest": optax.chain(optax.scale_by_adam(b1, b2, eps=1e-10), optax.scale(adam_ratio)),
    }
    return chain_update(optax.partition(parts, label_kernels), rate, 0.0, weight_decay, decay_all)


def adafactor(
    rate: Rate,
    *,
    decay_rate: Annotated[float, Option("exponent of the second moment's decay", above=0)] = 0.8,
    clipping_threshold: Annotated[float, Option("largest root mean square of an update", above=0)] = 1.0,
    parameter_scale: Annotated[bool, Option("rates relative to the size of the parameters")] = True,
    min_size_to_factor: Annotated[int, Option("axes that are shorter are not factored", at_least=1)] = 128,
    momentum: Momentum = 0.0,
    weight_decay: WeightDecay = 0.0,
    decay_all: DecayAll = False,
) -> Optimizer:
    """Adafactor (Shazeer & Stern 2018, algorithm 4): g over a factored estimate of its root mean square.

    The decay of the estimate is 1 - t^-decay_rate; updates of a root mean square above the threshold are
    scaled down to it; with parameter_scale they are then multiplied by max(1e-3, RMS(w)), so the rate is relative
    (paper: 1e-2). As in Optax, what has no two axes of min_size_to_factor is not factored (the paper factors all).
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
    freeze: Sequence[str] = (),
    **options: Any,
) -> Optimizer:
    """Builds the optimizer `name`.

    Args:
      name: a key of `OPTIMIZERS`.
      learning_rate: a number or a schedule.
      clip_norm: gradients of a larger global L2 norm are scaled down to it, before anything else.
      multipliers: pattern of parameter paths -> factor of their learning rate (`groups.scale_by_multipliers`).
      freeze: patterns of parameters that do not move (`groups.freeze`).
      **options: what the optimizer takes; one that is None takes the optimizer's default.

    Raises:
      ConfigError: for an unknown name or an option that the optimizer does not take.
    """
    if clip_norm is not None and not 0 < clip_norm < math.inf:
        raise ConfigError(f"clip_norm={clip_norm}: give a number above 0, or none")
    optimizer = _options.build("optimizer", OPTIMIZERS, name, learning_rate, options=options)
    if clip_norm:
        optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optimizer)
    if multipliers:
        optimizer = optax.chain(optimizer, parameter_groups.scale_by_multipliers(multipliers))
    return parameter_groups.freeze(optimizer, freeze) if freeze else optimizer
