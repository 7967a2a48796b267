"""Safe reading of PyTorch checkpoints: untrusted files cannot run code."""

import os
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from vidjax.errors import ConfigError, DataError

_PARTS = ("model_state", "state_dict")  # PySlowFast and pytorchvideo; torchvision's references and many others


def read_checkpoint(path: str | os.PathLike[str]) -> Mapping[str, np.ndarray]:
    """Reads the parameters in a .pyth, .pt or .pth file.

    Such files are pickles, which can run any code. Only tensors and plain containers are accepted here
    (`torch.load(weights_only=True)`).

    Args:
      path: of a file that `torch.save` wrote: a mapping of names to tensors, or one that has it at "model_state" or
        "state_dict".

    Returns:
      name -> array; bfloat16 is widened to float32.

    Raises:
      ConfigError: if torch is not installed, or older than 2.6: until then weights_only could be evaded
        (CVE-2025-32434).
      DataError: names the file, if it cannot be read, holds other objects than dense tensors, or no parameters.
    """
    torch = _torch()
    path = os.fspath(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or 'cannot be read'}") from error
    except pickle.UnpicklingError as error:
        # PyTorch's own message advises to load without this protection.
        raise DataError(f"{path}: is not a PyTorch checkpoint, or contains objects other than tensors") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{path}: is not a PyTorch checkpoint, or is damaged ({type(error).__name__})") from error
    tensors: Any = next((content[part] for part in _PARTS if _has(content, part)), content)
    if not isinstance(tensors, Mapping) or not tensors:
        raise DataError(f"{path}: contains no mapping of names to tensors")
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise DataError(f"{path}: {name!r} is a {type(value).__name__}, not a tensor")
    return {name: _array(torch, value, f"{path}: {name!r}") for name, value in tensors.items()}


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise ConfigError("reading a PyTorch checkpoint needs torch: pip install torch") from error
    major, minor = (int(part) for part in torch.__version__.split(".")[:2])
    if (major, minor) < (2, 6):
        raise ConfigError(f"torch {torch.__version__} cannot load untrusted checkpoints safely: pip install -U torch")
    return torch


def _has(content: Any, part: str) -> bool:
    return isinstance(content, Mapping) and isinstance(content.get(part), Mapping)


def _array(torch: Any, value: Any, name: str) -> np.ndarray:
    try:
        return (value.float() if value.dtype == torch.bfloat16 else value).detach().numpy()
    except (TypeError, RuntimeError) as error:  # sparse, quantized, of eight bits, without content, ...
        raise DataError(
            f"{name} is a tensor of a type that NumPy does not support ({value.dtype}, {value.layout})"
        ) from error
