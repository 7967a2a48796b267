"""Packages that tests compare vidjax with."""

import pytest


def package(name):
    """The module `name`, e.g. "torchvision.models"; skips what asks for it where it is missing or does not load."""
    reason = f"{name.partition('.')[0]} is not installed, or not for this PyTorch"
    try:
        return pytest.importorskip(name, reason=reason, exc_type=ImportError)
    except RuntimeError as error:  # torchvision's compiled part was built for another PyTorch
        return pytest.skip(f"{reason}: {error}")
