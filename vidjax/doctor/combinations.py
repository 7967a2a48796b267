"""Installed packages that are known not to fit together."""

import contextlib
import importlib.metadata
from collections.abc import Iterator

from vidjax.doctor import packages
from vidjax.doctor.findings import WARNING, Finding
from vidjax.errors import DataError

# Packages of which only one may be installed, and why.
_ONE_OF = (
    (
        ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
        "all of them write the folder cv2, and overwrite each other's files",
    ),
    (("decord", "decord2"), "both write the folder decord, and overwrite each other's files"),
    (("jax-cuda12-plugin", "jax-cuda13-plugin"), "both are the back end `cuda`, which JAX can load once"),
)


def check_combinations() -> Iterator[Finding]:
    for names, why in _ONE_OF:
        there = [name for name in names if packages.installed_version(name)]
        if len(there) > 1:
            yield Finding("combinations", there[0], WARNING, f"{' and '.join(there)}: {why}. Uninstall all, keep one")
    lib = packages.installed_version("jaxlib")
    for name in ("jax-cuda12-plugin", "jax-cuda13-plugin"):
        if (version := packages.installed_version(name)) and version != lib:
            text = f"{version} does not fit jaxlib {lib}, and JAX leaves it unused: reinstall the GPU's requirements"
            yield Finding("combinations", name, WARNING, text, version)
    yield from _unmet_requirements()


def _unmet_requirements() -> Iterator[Finding]:
    """Finds requirements of installed packages that the installed versions of others do not meet."""
    try:
        from packaging.requirements import InvalidRequirement, Requirement
        from packaging.utils import canonicalize_name
    except ImportError:
        return
    try:
        required = {canonicalize_name(Requirement(line).name) for line in packages.required_packages()} | {"jaxlib"}
    except DataError:
        return
    for distribution in importlib.metadata.distributions():
        for line in distribution.requires or ():
            with contextlib.suppress(InvalidRequirement):
                requirement = Requirement(line)
                if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                    continue
                version = packages.installed_version(requirement.name)
                if version is None or requirement.specifier.contains(version, prereleases=True):
                    continue
                who = distribution.metadata["Name"]
                if canonicalize_name(who) == "vidjax" or canonicalize_name(requirement.name) not in required:
                    continue
                text = f"{who} {distribution.version} asks for {requirement.name}{requirement.specifier}"
                yield Finding("combinations", requirement.name, WARNING, f"{text}, and {version} is here", version)
