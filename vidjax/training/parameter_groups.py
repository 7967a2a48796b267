"""Parameter groups, selected by patterns of parameter paths: frozen parameters and learning rate multipliers.

A pattern is a regular expression that selects every parameter or module whose whole path it matches
("features", "features/conv1", "classifier/fc7/kernel", ".*/bias"), and everything below such a module.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vidjax.errors import ConfigError
from vidjax.options import suggestions


def path_of(keys: Sequence[Any]) -> str:
    """The path of a leaf from its `jax.tree_util` keys, e.g. "conv1/kernel"."""
    return "/".join(str(getattr(key, "key", getattr(key, "name", key))) for key in keys)


def matches(pattern: str, path: str) -> bool:
    """Whether `pattern` selects `path` or a module that contains it."""
    parts = path.split("/")
    return any(re.fullmatch(pattern, "/".join(parts[:depth])) for depth in range(1, len(parts) + 1))


def read_patterns(text: str | None, key: str) -> tuple[str, ...]:
    """Reads patterns separated by commas.

    Args:
      text: e.g. "features/conv1,features/conv2"; None: no patterns. A pattern cannot contain a comma.
      key: config key, for error messages.

    Raises:
      ConfigError: for an empty pattern or an invalid regular expression.
    """
    patterns = tuple(part.strip() for part in text.split(",")) if text is not None else ()
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(
                f"{key}: invalid regular expression {pattern!r}: {error} (commas separate patterns)"
            ) from error
        if not pattern:
            raise ConfigError(f"{key}={text!r} contains an empty pattern; write e.g. 'features/conv1,features/conv2'")
    return patterns


def read_multipliers(text: str | None, key: str) -> dict[str, float]:
    """Reads "PATTERN=FACTOR,PATTERN=FACTOR".

    Args:
      text: e.g. "features/.*=0.1,classifier=10"; None: no rules.
      key: config key, for error messages.

    Returns:
      Pattern -> factor, in that order.

    Raises:
      ConfigError: for a malformed rule, a factor that is not above 0, or a duplicate pattern.
    """
    rules: dict[str, float] = {}
    for part in text.split(",") if text is not None else ():
        pattern, _, number = part.strip().rpartition("=")
        try:
            factor = float(number)
        except ValueError:
            factor = float("nan")
        if not 0 < factor < float("inf"):
            raise ConfigError(
                f"{key}: {part!r} is not PATTERN=FACTOR with a factor above 0 (to freeze parameters, use freeze)"
            )
        if pattern in rules:
            raise ConfigError(f"{key}: duplicate pattern {pattern!r}")
        rules[read_patterns(pattern, key)[0]] = factor
    return rules


def check(patterns: Sequence[str], params: Any, key: str, *, first_only: bool = False) -> None:
    """Checks that every pattern selects a parameter.

    Args:
      patterns: to check.
      params: parameters, or their shapes.
      key: config key, for error messages.
      first_only: whether only the first of several patterns that select a parameter counts for it, so that a later
        pattern may have none left.

    Raises:
      ConfigError: naming the pattern, the most similar module and the existing parameters.
    """
    paths = [path for path, _ in _leaves(params)]
    modules = {"/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 2)}
    for number, pattern in enumerate(patterns):
        fitting = [path for path in paths if matches(pattern, path)]
        if not fitting:
            named = [module for module in sorted(modules) if module.rpartition("/")[2] == pattern]
            hint = f"; did you mean {named[0]!r}?" if named else suggestions.did_you_mean(pattern, modules)
            raise ConfigError(f"{key}: {pattern!r} matches no parameter{hint} (parameters: {', '.join(paths)})")
        if first_only and all(any(matches(other, path) for other in patterns[:number]) for path in fitting):
            raise ConfigError(
                f"{key}: earlier patterns match every parameter that {pattern!r} matches; move it to the front"
            )


@dataclasses.dataclass(frozen=True)
class Frozen:
    """Which parameters are not trained: those that `patterns` select, and those that `train_only` does not select.

    Attributes:
      patterns: of frozen parameters.
      train_only: of the parameters that are trained; (): all that are not frozen.
    """

    patterns: tuple[str, ...] = ()
    train_only: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.patterns or self.train_only)

    def selects(self, path: str) -> bool:
        """Whether the parameter or statistic of this path is frozen."""
        if self.train_only and not any(matches(pattern, path) for pattern in self.train_only):
            return True
        return any(matches(pattern, path) for pattern in self.patterns)

    def selects_all(self, params: Any) -> bool:
        """Whether every parameter is frozen."""
        return all(self.selects(path) for path, _ in _leaves(params))


NOTHING = Frozen()


def scale_by_multipliers(rules: Mapping[str, float]) -> optax.GradientTransformation:
    """Scales the update of each parameter by the factor of the first pattern that selects it, 1 by default.

    As the last transformation it scales the learning rate, and with it the decoupled weight decay.
    """

    def factor(keys: Sequence[Any]) -> float:
        path = path_of(keys)
        return next((value for pattern, value in rules.items() if matches(pattern, path)), 1.0)

    def scale(updates: Any, params: Any) -> Any:
        del params
        return jax.tree_util.tree_map_with_path(lambda keys, update: factor(keys) * update, updates)

    return optax.stateless(scale)


def freeze(optimizer: optax.GradientTransformation, frozen: Frozen) -> optax.GradientTransformation:
    """Excludes frozen parameters from `optimizer`: no update, no decay, no state, no part in gradient clipping."""

    def labels(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda keys, _: frozen.selects(path_of(keys)), params)

    return optax.partition({False: optimizer, True: optax.set_to_zero()}, labels)


def global_norm(tree: Any, frozen: Frozen = NOTHING) -> jax.Array:
    """The global L2 norm of a tree, float [], in at least float32.

    Args:
      tree: parameters, gradients or updates.
      frozen: parameters to leave out: computing their gradients only for the norm would cost a backward pass.
    """
    squares = [_sum_of_squares(leaf) for path, leaf in _leaves(tree) if not frozen.selects(path)]
    return jnp.sqrt(sum(squares, start=jnp.zeros((), jnp.float32)))


def _sum_of_squares(x: jax.Array) -> jax.Array:
    flat = x.astype(jnp.promote_types(x.dtype, jnp.float32)).ravel()
    return jnp.dot(flat, flat, precision=jax.lax.Precision.HIGHEST)


def restore_frozen(frozen: Frozen, params: Any, old: Any, new: Any) -> Any:
    """Restores frozen statistics after a step; frozen parameters are not updated in the first place (`freeze`).

    Statistics such as the running averages of BatchNorm are frozen if they are selected or if all parameters of their
    module are frozen. By default a frozen BatchNorm still normalizes training batches by their own statistics, and only
    the running averages for evaluation do not change (`training.frozen_norms` normalizes by those).

    Args:
      frozen: which parameters are.
      params: the parameters, whose paths tell which modules are frozen.
      old, new: one collection of `model_state`, before and after a step.

    Returns:
      `new`, with the frozen leaves of `old`.
    """
    if not frozen:
        return new
    modules: dict[str, bool] = {}
    for path, value in {path: frozen.selects(path) for path, _ in _leaves(params)}.items():
        module = path.rpartition("/")[0]
        modules[module] = modules.get(module, True) and value

    def choose(keys: Sequence[Any], before: Any, after: Any) -> Any:
        path = path_of(keys)
        return before if frozen.selects(path) or modules.get(path.rpartition("/")[0], False) else after

    return jax.tree_util.tree_map_with_path(choose, old, new)


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    return [(path_of(keys), leaf) for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)]
