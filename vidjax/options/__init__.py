"""Choosing things by name with options that they declare themselves."""

from vidjax.options.declaring import Option

__all__ = ["Option"]
