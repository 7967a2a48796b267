"""The layout of pytorchvideo's hub models: "blocks.1.multipathway_blocks.0.res_blocks.0.branch2.conv_a.weight".

pytorchvideo's SlowFast is given both pathways as a list and leaves to the caller which frames the slow one takes; its
transform takes them as `SlowFast` does.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from vidjax.models.slowfast import SinglePathway, SlowFast
from vidjax.pretrained.importers.weight_mapping import check_module, fill


def from_pytorchvideo(module: nn.Module, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Variables of a `SlowFast` or `SinglePathway` from the state of a pytorchvideo model.

    Args:
      module: with the widths and the number of classes of the checkpoint.
      weights: name -> float array.

    Returns:
      {"params": ..., "batch_stats": ...}.

    Raises:
      ConfigError: for another module.
      DataError: names a parameter that is missing, unexpected or of another shape.

    References:
      pytorchvideo/models/slowfast.py and resnet.py (create_slowfast, create_resnet).
    """
    check_module(module, SlowFast, SinglePathway)
    if isinstance(module, SlowFast):
        return fill(module, weights, _two_pathways)
    return fill(module, weights, functools.partial(_one_pathway, int(module.pool_time)))


def _two_pathways(path: tuple[str, ...]) -> str:
    place, pathway = path[0], 1 if path[0].startswith("fast_") else 0
    match path:
        case ("classes",):
            return "blocks.6.proj"  # blocks.5 pools and concatenates
        case (_, kind) if place.startswith("lateral"):
            layer = {"conv": "conv_fast_to_slow", "norm": "norm"}[kind]
            return f"blocks.{int(place[-1]) - 1}.multipathway_fusion.{layer}"
        case (_, kind):
            return f"blocks.0.multipathway_blocks.{pathway}.{kind}"
    return f"blocks.{int(place[-1]) - 1}.multipathway_blocks.{pathway}.{_in_stage(path[1:])}"


def _one_pathway(pools: int, path: tuple[str, ...]) -> str:
    """The pool after res2, where there is one, is a block and counts."""
    match path:
        case ("classes",):
            return f"blocks.{5 + pools}.proj"
        case ("stem", kind):
            return f"blocks.0.{kind}"
    stage = int(path[0][-1])
    return f"blocks.{stage - 1 + (pools if stage > 2 else 0)}.{_in_stage(path[1:])}"


def _in_stage(path: tuple[str, ...]) -> str:
    block, unit, kind = path
    layer = f"branch1_{kind}" if unit == "shortcut" else f"branch2.{kind}_{unit}"
    return f"res_blocks.{block.removeprefix('block')}.{layer}"
