"""Weights to begin from, from wherever they come: as flat variables of a network of vidjax."""

import dataclasses
import os
from collections.abc import Mapping

import flax.linen as nn
import numpy as np

from vidjax import pretrained
from vidjax.errors import ConfigError, DataError
from vidjax.pretrained import store
from vidjax.pretrained.catalog import CATALOG
from vidjax.pretrained.formats import read_arrays
from vidjax.pretrained.importers import recognition
from vidjax.pretrained.info import Info


@dataclasses.dataclass(frozen=True)
class GivenWeights:
    """Weights, with what is known of them.

    Attributes:
      variables: path -> array, e.g. "params/trunk/stem/conv/kernel".
      classes: names of the classes that they score, in label order; None if unknown.
      name: for messages.
      sha256: of names and numbers (`store.content_hash`), wherever they are kept; None for those of a run.
      model: name of the network that they are of; None if unknown.
      variant: of the network, where it has variants.
      mean, std: of the pixel values that they were trained on, one number or one for each channel; None if unknown.
    """

    variables: Mapping[str, np.ndarray]
    classes: tuple[str, ...] | None
    name: str
    sha256: str | None = None
    model: str | None = None
    variant: str | None = None
    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None

    @classmethod
    def published(cls, info: Info, variables: Mapping[str, np.ndarray], name: str, sha256: str) -> "GivenWeights":
        """Weights of the catalog, or of a file of vidjax."""
        seen, variant = info.preprocessing, info.options.get("variant")
        return cls(variables, info.classes, name, sha256, info.model, variant, seen.mean, seen.std)


def read_weights(source: str, model_name: str, module: nn.Module) -> GivenWeights:
    """Reads weights that were published, or any file of weights.

    Args:
      source: a key of the catalog, the path of a file of any format and layout that is known (`formats`, `importers`),
        such a file on the Hugging Face hub (`hub`), or a folder with `model.safetensors`. In a layout of others the
        weights are those of `module`, but of other classes maybe, and of an image network where that one fuses time.
      model_name: of the network that they are for, a key of `vidjax.models.MODELS`; for messages.
      module: that network.

    Raises:
      ConfigError: for an unknown name, weights that are not on this machine, or of another network.
      DataError: names the file, if it is damaged or does not fit.
    """
    path = source if source in CATALOG else pretrained.file_of(source)
    if source in CATALOG or not os.path.isfile(path):
        found = pretrained.load(source)
        variables = pretrained.flat(found.variables)
        return GivenWeights.published(found.info, variables, source, store.content_hash(variables))
    arrays = read_arrays(path)
    if store.is_own(arrays):
        store.check(path, arrays)
        info = Info.of_metadata(path, arrays.metadata)
        return GivenWeights.published(info, arrays.arrays, source, arrays.metadata["sha256"])
    try:
        variables = pretrained.flat(recognition.convert(module, arrays))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path} does not fit the network {model_name}: {error}") from error
    return GivenWeights(variables, None, source, store.content_hash(variables))
