"""Frozen batch normalization that normalizes training batches by its running statistics, as evaluation does.

A pretrained network keeps the features that it was trained to give only so: by the statistics of a small batch of other
data its responses would change, though no parameter does.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import flax.linen as nn

from vidjax.layers.normalization import BatchNorm
from vidjax.training.parameter_groups import Frozen

# Class -> the argument of its call, and its value in evaluation.
_IN_EVALUATION: dict[type[nn.Module], tuple[str, bool]] = {
    BatchNorm: ("train", False),
    nn.BatchNorm: ("use_running_average", True),
}


@contextlib.contextmanager
def frozen_normalization(frozen: Frozen) -> Iterator[None]:
    """Within this, batch normalization whose parameters are all frozen behaves as in evaluation.

    Args:
      frozen: which parameters are not trained.
    """

    def evaluate_if_frozen(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        module = context.module
        if context.method_name == "__call__" and type(module) in _IN_EVALUATION:
            # Without parameters a layer is frozen where its statistics are.
            leaves = [name for name in ("scale", "bias") if getattr(module, f"use_{name}", True)] or ["mean", "var"]
            if all(frozen.selects("/".join((*module.path, leaf))) for leaf in leaves):
                name, value = _IN_EVALUATION[type(module)]
                if getattr(module, name, None) is not None:  # said by the module, which refuses to be told twice
                    object.__setattr__(module, name, None)
                args, kwargs = args[:1], {**kwargs, name: value}
        return call(*args, **kwargs)

    if not frozen:
        yield
        return
    with nn.intercept_methods(evaluate_if_frozen):
        yield
