"""Weights to begin from, from wherever they come: as flat variables of a network of vidjax."""

import dataclasses
from collections.abc import Mapping

import flax.linen as nn
import numpy as np
from flax import traverse_util

from vidjax import pretrained
from vidjax.pretrained.catalog import Info


@dataclasses.dataclass(frozen=True)
class GivenWeights:
    """Weights, with what is known of them.

    Attributes:
      variables: path -> array, e.g. "params/trunk/stem/conv/kernel".
      classes: names of the classes that they score, in label order; None if unknown.
      name: for messages.
      sha256: of the file, or None for those of a run.
      info: of published weights.
    """

    variables: Mapping[str, np.ndarray]
    classes: tuple[str, ...] | None
    name: str
    sha256: str | None = None
    info: Info | None = None


def read_weights(source: str, model_name: str, module: nn.Module) -> GivenWeights:
    """Reads published weights.

    Args:
      source: a key of the catalog.
      model_name: of the network that they are for, a key of `vidjax.models.MODELS`.
      module: that network.

    Raises:
      ConfigError: for an unknown name, or weights that are not on this machine.
      DataError: if the file is damaged.
    """
    del model_name, module
    found = pretrained.load(source)
    flat = traverse_util.flatten_dict(found.variables, sep="/")
    return GivenWeights(flat, found.info.classes, source, found.info.sha256, found.info)
