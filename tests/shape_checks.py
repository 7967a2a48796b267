"""What checks the shapes in signatures: `conftest` has jaxtyping call it for every function of some modules."""

import beartype


def check(function):
    """Checks calls of a function of a module; of classes, neither their making nor the fields of dataclasses.

    Pytrees such as `Output` are rebuilt with whatever leaves a transformation has, and flax's modules have fields whose
    types cannot be checked. Of nested functions too many would be made.
    """
    if isinstance(function, type) or function.__name__ == "__init__" or "<locals>" in function.__qualname__:
        return function
    return beartype.beartype(function)
