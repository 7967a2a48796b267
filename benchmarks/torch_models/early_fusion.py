"""Early fusion in PyTorch, from the paper (Karpathy et al. 2014, section 4.1), with batch normalization.

Clips are [B, 3, T, H, W], logits [B, 1, K].
"""

from torch import Tensor, nn

LAYERS = ((96, 11), (256, 5), (384, 3), (384, 3), (256, 3))  # filters and their extent
POOLED = (1, 2, 5)


class EarlyFusion(nn.Module):
    """C(96,11,3)-P-C(256,5,1)-P-C(384,3,1)-C(384,3,1)-C(256,3,1)-P-FC(4096)-FC(4096), for clips of a given size."""

    def __init__(self, num_classes: int, frames: int, side: int, width_multiplier: float = 1.0):
        super().__init__()
        inputs, self.left = 3 * frames, (side - 11) // 3 + 1
        for number, (filters, extent) in enumerate(LAYERS, start=1):
            outputs, first = round(filters * width_multiplier), number == 1
            conv = nn.Conv2d(inputs, outputs, extent, 3 if first else 1, 0 if first else extent // 2, bias=False)
            setattr(self, f"conv{number}", conv)
            setattr(self, f"norm{number}", nn.BatchNorm2d(outputs))
            inputs = outputs
            if number in POOLED:
                self.left = -(-self.left // 2)
        hidden = round(4096 * width_multiplier)
        self.fc6, self.fc7 = nn.Linear(inputs * self.left**2, hidden), nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        # Frames stacked on the channels, which stay last in memory.
        x = x.permute(0, 3, 4, 2, 1).flatten(3).permute(0, 3, 1, 2)
        for number in range(1, len(LAYERS) + 1):
            x = getattr(self, f"norm{number}")(getattr(self, f"conv{number}")(x)).relu()
            if number in POOLED:
                x = nn.functional.max_pool2d(x, 2, ceil_mode=True)
        return self.fc8(self.fc7(self.fc6(x.flatten(1)).relu()).relu())[:, None]
