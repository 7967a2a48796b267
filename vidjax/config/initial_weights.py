"""The weights that a run begins from (`config.weights`), laid over its random ones."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from vidjax import models
from vidjax.errors import ConfigError, VidjaxError, options_of
from vidjax.layers.convolution import native_operations
from vidjax.pretrained import filling
from vidjax.pretrained.sources import GivenWeights
from vidjax.system import files
from vidjax.training import parameter_groups
from vidjax.training.state import TrainState, Variables

FILE = "weights.json"  # in the run directory: what was taken
_MAX_LISTED = 5


@dataclasses.dataclass(frozen=True)
class InitialWeights:
    """Weights that fit the network of a run.

    Attributes:
      given: what was read.
      filled: what is taken of it.
      head: skipped parameters that belong to other classes.
    """

    given: GivenWeights
    filled: filling.Filled
    head: tuple[str, ...]

    def apply(self, state: TrainState) -> TrainState:
        """The initial state of a run, with these weights."""
        old = {"params": state.params, **state.model_state}

        def taken(keys: Any, leaf: Any) -> Any:
            return self.filled.values.get(parameter_groups.path_of(keys), leaf)

        new = jax.tree_util.tree_map_with_path(taken, old)
        weights = Variables(new.pop("params"), new)
        # A copy: a step donates the buffers of its state, each only once.
        ema = jax.tree.map(np.array, weights) if state.ema is not None else None
        return state.with_weights(weights).replace(ema=ema)  # type: ignore[attr-defined]

    def write(self, workdir: Path) -> None:
        """Writes `weights.json`: what was taken, and what was not."""
        record = {
            "name": self.given.name,
            "sha256": self.given.sha256,
            "taken": len(self.filled.values),
            "inflated": list(self.filled.inflated),
            "initial": list(self.filled.initial),
            "unused": list(self.filled.unused),
        }
        files.write_json(workdir / FILE, record)

    def describe(self) -> Iterator[str]:
        """Yields the same as lines for the terminal."""
        filled, total = self.filled, len(self.filled.values) + len(self.filled.initial)
        inflated = f", {len(filled.inflated)} of them inflated over time" if filled.inflated else ""
        yield f"weights of {self.given.name}: {len(filled.values)} of {total} arrays taken{inflated}"
        if self.given.mean is None:
            yield "  what pixel values they were trained on is not known; preprocessing.mean and std are taken for that"
        if self.head:
            yield f"  not taken, because the classes or their inputs are others: {_listed(self.head)}"
        others = [path for path in filled.initial if path not in self.head]
        if others:
            yield f"  random at the beginning: {_listed(others)}"
        left = [path for path in filled.unused if path not in self.head]
        if left:
            yield f"  not used: {_listed(left)}"


def fit(
    config: ConfigDict,
    given: GivenWeights,
    classes: Collection[str],
    state: TrainState,
    inputs: Mapping[str, jax.ShapeDtypeStruct],
    build: Callable[[int], nn.Module],
) -> InitialWeights:
    """Fits weights to the network of a run.

    Args:
      config: of the run.
      given: the weights.
      classes: of the run.
      state: initial, possibly abstract.
      inputs: shape and dtype of each input of the model.
      build: number of classes -> the network.

    Raises:
      ConfigError: naming a parameter that is not used or not filled, or preprocessing other than that of the weights.
    """
    target = traverse_util.flatten_dict({"params": state.params, **state.model_state}, sep="/")
    skip = _skipped(config.weights, {**given.variables, **target})
    of_classes = _paths_of_classes(target, lambda: build(len(classes) + 1), inputs)
    head = of_classes if _differs(given, classes, target, of_classes) else ()
    try:
        with options_of("weights"):
            inflation = config.weights.inflate or "repeat"
            filled = filling.fill(target, given.variables, skip={*skip, *head}, inflation=inflation)
    except ConfigError as error:
        name = config.model.factory or config.model.name
        if given.model in (None, name, config.model.get("backbone")):
            raise
        raise ConfigError(
            f"weights.source={config.weights.source} has the weights of {given.model!r}, and model.name={name} needs"
            f" others: {error}"
        ) from error
    check_preprocessing(config, given)
    return InitialWeights(given, filled, tuple(path for path in head if path not in skip))


def _differs(
    given: GivenWeights, classes: Collection[str], target: Mapping[str, Any], of_classes: Collection[str]
) -> bool:
    """Whether the weights score other classes, or other shapes of what depends on their number."""
    if given.classes is not None and tuple(given.classes) != tuple(classes):
        return True
    shapes = {path: array.shape for path, array in given.variables.items()}
    return any(shapes.get(path, target[path].shape) != target[path].shape for path in of_classes)


def check_section(section: ConfigDict) -> None:
    """Refuses keys that have no effect.

    Raises:
      ConfigError: naming the key.
    """
    for key in ("skip", "inflate"):
        if section.source is None and section[key] is not None:
            raise ConfigError(f"weights.{key}={section[key]!r} has no effect without weights.source")
    parameter_groups.read_patterns(section.skip, "weights.skip")


def check_preprocessing(config: ConfigDict, given: GivenWeights) -> None:
    """Refuses pixel values in another range than the weights were trained on: nothing else would tell.

    Raises:
      ConfigError: naming the key, and what to give.
    """
    name = config.model.get("backbone") or config.model.name
    if given.model in (name, config.model.name):
        wanted, chosen = (models.variant_of(name, each) for each in (given.variant, config.model.get("variant")))
        if wanted != chosen:
            raise ConfigError(f"{given.name} are weights of another variant of the network: set model.variant={wanted}")
    for key, expected in (("mean", given.mean), ("std", given.std)):
        value = config.preprocessing[key]
        if expected is None or _is_same(value, expected):
            continue
        raise ConfigError(
            f"preprocessing.{key}={value}: {given.name} was trained with {_numbers(expected)}; set"
            f" --config.preprocessing.{key}={_numbers(expected)}"
        )


def _is_same(one: Any, other: Any) -> bool:
    """Whether they are the same for each channel, up to rounding."""
    try:
        return bool(np.allclose(np.asarray(one), np.asarray(other), rtol=1e-3))
    except ValueError:  # of another number of channels
        return False


def _numbers(value: Any) -> str:
    numbers = sorted(set(value), key=list(value).index) if isinstance(value, tuple) else [value]
    return ",".join(f"{number:g}" for number in (value if len(numbers) > 1 else numbers))


def _skipped(section: ConfigDict, paths: Collection[str]) -> set[str]:
    """The paths that `weights.skip` selects; patterns do not see the collection ("params") in front."""
    patterns = parameter_groups.read_patterns(section.skip, "weights.skip")
    tree = traverse_util.unflatten_dict({path.partition("/")[2]: 0 for path in paths}, sep="/")
    parameter_groups.check(patterns, tree, "weights.skip")
    return {path for path in paths if any(parameter_groups.matches(p, path.partition("/")[2]) for p in patterns)}


def _paths_of_classes(
    target: Mapping[str, Any], build_other: Callable[[], nn.Module], inputs: Mapping[str, jax.ShapeDtypeStruct]
) -> tuple[str, ...]:
    """The variables whose shapes depend on the number of classes; none of a custom model for a fixed number."""
    try:
        with native_operations():  # the fastest to trace
            variables: Any = jax.eval_shape(lambda given: build_other().init(jax.random.key(0), **given), dict(inputs))
    except (VidjaxError, ValueError, TypeError):
        return ()
    other = traverse_util.flatten_dict(dict(variables), sep="/")
    return tuple(path for path, spec in target.items() if path not in other or other[path].shape != spec.shape)


def _listed(paths: Collection[str]) -> str:
    names = [path.partition("/")[2] for path in paths]
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more
