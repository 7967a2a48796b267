"""Python and the required packages: which versions are installed, whether they were tested, whether they import."""

import importlib
import importlib.metadata
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from vidjax.doctor.child import describe_error, run_in_child
from vidjax.doctor.findings import OK, PROBLEM, WARNING, Finding
from vidjax.errors import DataError
from vidjax.system.paths import checkout

OLDEST_PYTHON, NEWEST_PYTHON = (3, 11), (3, 13)  # that were tested
INSTALL = "pip install -r requirements.txt"
# What is imported of a package, where that is not its name: the part that needs what it was compiled for. A function
# after a colon is called.
_IMPORTS = {
    "absl-py": "absl.flags",
    "array-record": "array_record.python.array_record_module",
    "decord2": "decord",
    "onednn-cpu-gomp": "vidjax.layers.cpu.onednn.shared_library:load",  # a library without a module
    "orbax-checkpoint": "orbax.checkpoint",
    "pillow": "PIL.Image",
    "scikit-learn": "sklearn.datasets",
    "scipy": "scipy.stats",
}
# Without these all works, more slowly.
_FOR_SPEED = {"onednn-cpu-gomp": "convolutions on a CPU are slower without it"}
# Either is imported as decord.
ALTERNATIVES = {"decord": "decord2", "decord2": "decord"}


def check_python() -> Finding:
    version, machine = platform.python_version(), f"{platform.python_implementation()} on {platform.platform()}"
    tested = "{}.{} to {}.{}".format(*OLDEST_PYTHON, *NEWEST_PYTHON)
    status = OK if OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON else WARNING
    if sys.version_info[:2] < OLDEST_PYTHON:
        status = PROBLEM
    return Finding("python", "Python", status, machine, version, tested)


def required_packages() -> list[str]:
    """Returns the requirements: of requirements.txt in a checkout, else of the installed package's metadata.

    Raises:
      DataError: if neither is there.
    """
    root = checkout()
    try:
        if root is not None:
            text = (root / "requirements.txt").read_text(encoding="utf-8")
            lines = [line.partition("#")[0].strip() for line in text.splitlines()]
        else:
            lines = importlib.metadata.requires("vidjax") or []
    except (OSError, importlib.metadata.PackageNotFoundError) as error:
        raise DataError(f"what vidjax requires is not known: {error}") from error
    return [line for line in lines if line]


def check_packages(seconds: float) -> Iterator[Finding]:
    try:
        lines = required_packages()
    except DataError as error:
        yield Finding("packages", "vidjax", PROBLEM, str(error))
        return
    try:
        from packaging.requirements import Requirement
    except ImportError:
        # Which versions fit, and what belongs to other machines, cannot be told without it.
        names = [match[0] for line in lines if ";" not in line and (match := re.match(r"[\w.-]+", line))]
        for name in names:
            if installed_version(name) is None:
                yield Finding("packages", name, PROBLEM, f"missing: {INSTALL}")
        return
    requirements = [Requirement(line) for line in lines]
    requirements = [each for each in requirements if not each.marker or each.marker.evaluate()]
    installed = {}
    for requirement in requirements:
        name = requirement.name
        if installed_version(name) is None and installed_version(ALTERNATIVES.get(name, name)) is not None:
            yield Finding(
                "packages", name, OK, f"{ALTERNATIVES[name]} is there instead", installed_version(ALTERNATIVES[name])
            )
        elif (version := installed_version(name)) is None:
            status, why = (WARNING, f"; {_FOR_SPEED[name]}") if name in _FOR_SPEED else (PROBLEM, "")
            yield Finding("packages", name, status, f"missing: {INSTALL}{why}", None, str(requirement.specifier))
        else:
            installed[name] = (requirement, version)
    modules = {name: _IMPORTS.get(name, name.replace("-", "_")) for name in installed}
    if len(installed) == len(requirements):
        modules["vidjax"] = "vidjax.train"  # with all that it imports
    errors = _import_errors(list(modules.values()), seconds)
    for name, (requirement, version) in installed.items():
        yield _package(requirement, version, errors[modules[name]])
    if "vidjax" in modules and errors["vidjax.train"] and not any(errors[modules[name]] for name in installed):
        yield Finding("packages", "vidjax", PROBLEM, f"does not work with these packages: {errors['vidjax.train']}")


def _package(requirement: Any, version: str, error: str | None) -> Finding:
    name, tested = requirement.name, str(requirement.specifier)
    if error is not None and name in _FOR_SPEED:
        return Finding("packages", name, WARNING, f"{version}: {error}; {_FOR_SPEED[name]}", version, tested)
    if error is not None:
        return Finding("packages", name, PROBLEM, f"{version} cannot be imported: {error}", version, tested)
    if requirement.specifier.contains(version, prereleases=True):
        return Finding("packages", name, OK, version, version, tested)
    from packaging.version import Version

    lowest = [Version(each.version) for each in requirement.specifier if each.operator in (">=", ">", "==", "~=")]
    side = "older" if any(Version(version) < bound for bound in lowest) else "newer"
    return Finding("packages", name, WARNING, f"{version} is {side} than what was tested ({tested})", version, tested)


def installed_version(name: str) -> str | None:
    try:
        # Of a package that was removed by hand there may be a folder without metadata.
        return importlib.metadata.version(name) or None
    except (importlib.metadata.PackageNotFoundError, KeyError, TypeError, OSError):
        return None


def _import_errors(modules: Sequence[str], seconds: float) -> dict[str, str | None]:
    """Returns module -> why it cannot be imported; None if it can."""
    errors: dict[str, str | None] = {}
    while left := [module for module in modules if module not in errors]:
        lines, failure = run_in_child(import_each, [left], seconds * 2)
        errors |= {left[number]: line for number, line in enumerate(lines[: len(left)])}
        if len(lines) < len(left):  # the process ended within the next one
            errors[left[len(lines)]] = failure or "its import ended the process"
    return errors


def import_each(modules: Sequence[str]) -> Iterator[str | None]:
    """Imports modules in this process; yields the error of each, or None."""
    for module in modules:
        try:
            name, _, function = module.partition(":")
            imported = importlib.import_module(name)
            if function:
                getattr(imported, function)()
        except Exception as error:  # also those of broken packages, of any kind
            yield describe_error(error)
        else:
            yield None
