"""Video classification in JAX. `vidjax.load(RUN_OR_NAME)` gives a trained network as a function of videos."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidjax.inference.classifier import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # With JAX, which `import vidjax` does without; not a statement, since every module would depend on it.
    globals()[name] = found = importlib.import_module("vidjax.inference.classifier").load
    return found
