"""The layout of the .pkl files in PySlowFast's model zoo, which Caffe2 wrote: "res2_0_branch2a_w", "t_conv1_w"."""

import re
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from vidjax.pretrained.importers.pyslowfast import from_pyslowfast

# A blob is a layer, and one of its arrays.
_BLOB = re.compile(r"(?P<layer>.+?)_(?P<kind>bn_s|bn_b|bn_rm|bn_riv|w|b)")
_NORM = {"bn_s": "weight", "bn_b": "bias", "bn_rm": "running_mean", "bn_riv": "running_var"}
_OTHER = {"w": "weight", "b": "bias"}
_UNIT = re.compile(r"(?P<fast>t_)?res(?P<stage>\d)_(?P<block>\d+)_branch(?P<branch>1|2[abc])")
# From the fast to the slow pathway, named after what it comes from: the first pool, or the last block of a stage.
_LATERAL = re.compile(r"t_(pool1|res(?P<stage>\d)_\d+_branch2c_bn)_subsample")
_STEM = re.compile(r"(?P<fast>t_)?(res_)?conv1")


def from_caffe2(module: nn.Module, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Variables of a `SlowFast` or `SinglePathway` from the "blobs" of a Caffe2 file.

    Args:
      module: with the widths and the number of classes of the file.
      weights: name -> float array; those of the optimizer ("_momentum", "lr", "model_iter") are ignored.

    Returns:
      {"params": ..., "batch_stats": ...}.

    Raises:
      ConfigError: for another module.
      DataError: names a parameter that is missing (by its name in PySlowFast), unexpected or of another shape.

    References:
      slowfast/utils/c2_model_loading.py.
    """
    kept = {name: value for name, value in weights.items() if not _is_of_optimizer(name)}
    return from_pyslowfast(module, {name_in_pyslowfast(name): value for name, value in kept.items()})


def name_in_pyslowfast(blob: str) -> str:
    """The name of a blob in PySlowFast's checkpoints; the blob's own if it is none of these networks."""
    found = _BLOB.fullmatch(blob)
    if not found:
        return blob
    layer, kind = found["layer"], found["kind"]
    array = {**_NORM, **_OTHER}[kind]
    is_norm = kind in _NORM
    if layer == "pred":
        return f"head.projection.{array}"
    if match := _STEM.fullmatch(layer):
        return f"s1.pathway{int(bool(match['fast']))}_stem.{'bn' if is_norm else 'conv'}.{array}"
    if match := _LATERAL.fullmatch(layer):
        return f"s{match['stage'] or 1}_fuse.{'bn' if is_norm else 'conv_f2s'}.{array}"
    if match := _UNIT.fullmatch(layer):
        branch = ".".join(["branch" + match["branch"][0], *match["branch"][1:]])
        place = f"s{match['stage']}.pathway{int(bool(match['fast']))}_res{match['block']}"
        return f"{place}.{branch}{'_bn' if is_norm else ''}.{array}"
    return blob


def _is_of_optimizer(blob: str) -> bool:
    return blob.endswith("_momentum") or blob in ("lr", "model_iter")
