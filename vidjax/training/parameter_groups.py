"""Groups of parameters, chosen by patterns of their paths: frozen ones, and learning rates of their own.

A pattern is a regular expression that stands for every parameter or module whose whole path it matches
("features", "features/conv1", "classifier/fc7/kernel", ".*/bias"), and for all that lies below such a module.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vidjax.errors import ConfigError
from vidjax.options import suggestions


def path_of(keys: Sequence[Any]) -> str:
    """Returns the path of a leaf, as `jax.tree_util` gives it, e.g. "conv1/kernel"."""
    return "/".join(str(getattr(key, "key", getattr(key, "name", key))) for key in keys)


def matches(pattern: str, path: str) -> bool:
    """True where `pattern` stands for `path` or for a module that it lies in."""
    parts = path.split("/")
    return any(re.fullmatch(pattern, "/".join(parts[:depth])) for depth in range(1, len(parts) + 1))


def read_patterns(text: str | None, key: str) -> tuple[str, ...]:
    """Reads patterns separated by commas.

    Args:
      text: e.g. "features/conv1,features/conv2"; None: no pattern. A comma cannot be part of a pattern.
      key: of the config, as messages name it.

    Raises:
      ConfigError: for an empty pattern, or one that is no regular expression.
    """
    patterns = tuple(part.strip() for part in text.split(",")) if text is not None else ()
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(
                f"{key}: {pattern!r} is no regular expression: {error} (commas separate patterns)"
            ) from error
        if not pattern:
            raise ConfigError(f"{key}={text!r} holds an empty pattern; write e.g. 'features/conv1,features/conv2'")
    return patterns


def read_multipliers(text: str | None, key: str) -> dict[str, float]:
    """Reads "PATTERN=FACTOR,PATTERN=FACTOR".

    Args:
      text: e.g. "features/.*=0.1,classifier=10"; None: nothing.
      key: of the config, as messages name it.

    Returns:
      Pattern -> factor, in that order.

    Raises:
      ConfigError: for another form, a factor that is not above 0, or a pattern that comes twice.
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
                f"{key}: {part!r} is not PATTERN=FACTOR with a factor above 0 (what must not move is frozen)"
            )
        if pattern in rules:
            raise ConfigError(f"{key}: {pattern!r} is there twice")
        rules[read_patterns(pattern, key)[0]] = factor
    return rules


def check(patterns: Sequence[str], params: Any, key: str, *, first_only: bool = False) -> None:
    """Refuses a pattern that stands for no parameter.

    Args:
      patterns: to check.
      params: parameters, or their shapes.
      key: of the config, as the message names it.
      first_only: of several patterns that stand for a parameter the first counts, so that one may be left without any.

    Raises:
      ConfigError: naming the pattern, the nearest module and the parameters that there are.
    """
    paths = [path for path, _ in _leaves(params)]
    modules = {"/".join(path.split("/")[:depth]) for path in paths for depth in range(1, path.count("/") + 2)}
    for number, pattern in enumerate(patterns):
        fitting = [path for path in paths if matches(pattern, path)]
        if not fitting:
            named = [module for module in sorted(modules) if module.rpartition("/")[2] == pattern]
            hint = f"; did you mean {named[0]!r}?" if named else suggestions.did_you_mean(pattern, modules)
            raise ConfigError(f"{key}: {pattern!r} matches no parameter{hint} (there are: {', '.join(paths)})")
        if first_only and all(any(matches(other, path) for other in patterns[:number]) for path in fitting):
            raise ConfigError(f"{key}: all that {pattern!r} stands for has a factor already; put it first")


def all_frozen(patterns: Sequence[str], params: Any) -> bool:
    """Whether the patterns stand for every parameter."""
    return all(_is_frozen(patterns, path) for path, _ in _leaves(params))


def scale_by_multipliers(rules: Mapping[str, float]) -> optax.GradientTransformation:
    """Scales the update of each parameter by the factor of the first pattern that stands for it, otherwise by 1.

    Placed last it scales the learning rate, and with it the decoupled weight decay.
    """

    def factor(keys: Sequence[Any]) -> float:
        path = path_of(keys)
        return next((value for pattern, value in rules.items() if matches(pattern, path)), 1.0)

    def scale(updates: Any, params: Any) -> Any:
        del params
        return jax.tree_util.tree_map_with_path(lambda keys, update: factor(keys) * update, updates)

    return optax.stateless(scale)


def freeze(optimizer: optax.GradientTransformation, patterns: Sequence[str]) -> optax.GradientTransformation:
    """Keeps the frozen parameters out of `optimizer`: no update, no decay, no state, no part in the clipped norm."""

    def labels(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda keys, _: _is_frozen(patterns, path_of(keys)), params)

    return optax.partition({False: optimizer, True: optax.set_to_zero()}, labels)


def global_norm(tree: Any, frozen: Sequence[str] = ()) -> jax.Array:
    """The L2 norm of all numbers of a tree together, float [], in at least float32.

    Args:
      tree: parameters, or what is as they are.
      frozen: patterns of what is left out: to compute a gradient for this number alone would cost a backward pass.
    """
    squares = [_sum_of_squares(leaf) for path, leaf in _leaves(tree) if not _is_frozen(frozen, path)]
    return jnp.sqrt(sum(squares, start=jnp.zeros((), jnp.float32)))


def _sum_of_squares(x: jax.Array) -> jax.Array:
    flat = x.astype(jnp.promote_types(x.dtype, jnp.float32)).ravel()
    return jnp.dot(flat, flat, precision=jax.lax.Precision.HIGHEST)


def restore_frozen(patterns: Sequence[str], params: Any, old: Any, new: Any) -> Any:
    """Puts frozen statistics back; frozen parameters do not move in the first place (`freeze`).

    Statistics, such as the averages of BatchNorm, are frozen where a pattern stands for them or where all
    parameters of their module are frozen. A frozen BatchNorm still normalises a training batch by that
    batch's own statistics; only what it keeps for evaluation stands still.

    Args:
      patterns: of what is frozen.
      params: the parameters, whose paths say which modules are frozen.
      old, new: one collection of `model_state`, before and after a step.

    Returns:
      `new`, with the frozen leaves of `old`.
    """
    if not patterns:
        return new
    frozen = {path: _is_frozen(patterns, path) for path, _ in _leaves(params)}
    modules: dict[str, bool] = {}
    for path, value in frozen.items():
        module = path.rpartition("/")[0]
        modules[module] = modules.get(module, True) and value

    def choose(keys: Sequence[Any], before: Any, after: Any) -> Any:
        path = path_of(keys)
        return before if _is_frozen(patterns, path) or modules.get(path.rpartition("/")[0], False) else after

    return jax.tree_util.tree_map_with_path(choose, old, new)


def _is_frozen(patterns: Sequence[str], path: str) -> bool:
    return any(matches(pattern, path) for pattern in patterns)


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    return [(path_of(keys), leaf) for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)]
