"""The layout of PySlowFast, the code of the authors of SlowFast: "s2.pathway0_res0.branch2.a.weight"."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from vidjax.models.slowfast import SinglePathway, SlowFast
from vidjax.pretrained.importers.weight_mapping import check_module, fill


def from_pyslowfast(module: nn.Module, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Variables of a `SlowFast` or `SinglePathway` from the "model_state" of a PySlowFast checkpoint.

    Args:
      module: with the widths and the number of classes of the checkpoint.
      weights: name -> float array.

    Returns:
      {"params": ..., "batch_stats": ...}.

    Raises:
      ConfigError: for another module.
      DataError: names a parameter that is missing, unexpected or of another shape.

    References:
      slowfast/models/video_model_builder.py, resnet_helper.py, stem_helper.py and head_helper.py there.
    """
    check_module(module, SlowFast, SinglePathway)
    return fill(module, weights, name_layer)


def name_layer(path: tuple[str, ...]) -> str:
    """The name of a layer; the fast pathway is number 1, the slow one or the only one number 0."""
    place, number, pathway = path[0], path[0][-1], 1 if path[0].startswith("fast_") else 0
    match path:
        case ("classes",):
            return "head.projection"
        case (_, kind) if place.startswith("lateral"):
            return f"s{number}_fuse." + {"conv": "conv_f2s", "norm": "bn"}[kind]
        case (_, kind):
            return f"s1.pathway{pathway}_stem." + {"conv": "conv", "norm": "bn"}[kind]
        case (_, block, unit, kind):
            branch = "branch1" if unit == "shortcut" else f"branch2.{unit}"
            suffix = {"conv": "", "norm": "_bn"}[kind]
            return f"s{number}.pathway{pathway}_res{block.removeprefix('block')}.{branch}{suffix}"
    raise ValueError(f"no layer of SlowFast: {'/'.join(path)}")
