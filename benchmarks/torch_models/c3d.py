"""C3D in PyTorch, from the paper (Tran et al. 2015, section 3.3). Clips are [B, 3, T, H, W], logits [B, 1, K]."""

from typing import Any

import numpy as np
from torch import nn

LAYERS = (("1a",), ("2a",), ("3a", "3b"), ("4a", "4b"), ("5a", "5b"))
WIDTHS = (64, 128, 256, 512, 512)


class C3D(nn.Module):
    """With or without batch normalization before each ReLU; `left` is the size t x h x w after the last pool."""

    def __init__(self, num_classes, left, batch=False, width_multiplier=1.0):
        super().__init__()
        inputs, self.left = 3, left
        for names, width in zip(LAYERS, WIDTHS):
            outputs = round(width * width_multiplier)
            for name in names:
                setattr(self, f"conv{name}", nn.Conv3d(inputs, outputs, 3, padding=1, bias=not batch))
                setattr(self, f"norm{name}", nn.BatchNorm3d(outputs) if batch else nn.Identity())
                inputs = outputs
        hidden = round(4096 * width_multiplier)
        self.fc6, self.fc7 = nn.Linear(inputs * int(np.prod(left)), hidden), nn.Linear(hidden, hidden)
        self.classes = nn.Linear(hidden, num_classes)

    def forward(self, x):
        for number, names in enumerate(LAYERS, start=1):
            for name in names:
                x = getattr(self, f"norm{name}")(getattr(self, f"conv{name}")(x)).relu()
            # Caffe pools what is left over at the end by itself.
            x = nn.functional.max_pool3d(x, (1, 2, 2) if number == 1 else 2, ceil_mode=True)
        return self.classes(self.fc7(self.fc6(x.flatten(1)).relu()).relu())[:, None]

    def variables(self):
        """The variables of vidjax's C3D: the flattened clip has channels last there."""
        params: dict[str, Any] = {}
        stats: dict[str, Any] = {}
        for name, layer in self.named_children():
            weights: dict[str, Any] = {key: value.detach().numpy() for key, value in layer.named_parameters()}
            if isinstance(layer, nn.Conv3d):
                kernel = {"kernel": weights.pop("weight").transpose(2, 3, 4, 1, 0)}
                params[name] = kernel | weights
            elif isinstance(layer, nn.BatchNorm3d):
                assert layer.running_mean is not None and layer.running_var is not None
                params[name] = {"batch": {"scale": weights["weight"], "bias": weights["bias"]}}
                stats[name] = {"batch": {"mean": layer.running_mean.numpy(), "var": layer.running_var.numpy()}}
            elif isinstance(layer, nn.Linear):
                kernel = weights["weight"]
                if name == "fc6":
                    kernel = kernel.reshape(len(kernel), -1, *self.left).transpose(0, 2, 3, 4, 1)
                params[name] = {"kernel": kernel.reshape(len(kernel), -1).T, "bias": weights["bias"]}
        return {"params": params, "batch_stats": stats} if stats else {"params": params}
