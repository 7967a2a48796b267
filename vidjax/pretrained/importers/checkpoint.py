"""The parameters in a checkpoint of a trainer that uses PyTorch."""

import os
from collections.abc import Mapping

import numpy as np

from vidjax.pretrained.formats import read_arrays


def read_checkpoint(path: str | os.PathLike[str]) -> Mapping[str, np.ndarray]:
    """Reads the parameters in a .pyth, .pt or .pth file, without PyTorch; nothing in it is executed.

    Args:
      path: of a file that `torch.save` wrote: a mapping of names to tensors, or one that has it at "model_state" or
        "state_dict". Files of other formats are read as `read_arrays` does.

    Returns:
      name -> array, which can be a read-only view; bfloat16 is widened to float32.

    Raises:
      DataError: names the file, if it cannot be read, holds other objects than dense tensors, or no parameters.
    """
    return read_arrays(path).arrays
