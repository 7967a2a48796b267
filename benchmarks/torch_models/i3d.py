"""I3D in PyTorch, from the paper (Carreira & Zisserman 2017, figure 3; Szegedy et al. 2015, table 1).

Clips are [B, 3, T, H, W], logits [B, N, K].
"""

import torch
from torch import Tensor, nn

# Output channels of the branches: 1x1x1; 1x1x1 then 3x3x3; 1x1x1 then 3x3x3; pool then 1x1x1.
MIXED = {
    "3b": (64, (96, 128), (16, 32), 32),
    "3c": (128, (128, 192), (32, 96), 64),
    "4b": (192, (96, 208), (16, 48), 64),
    "4c": (160, (112, 224), (24, 64), 64),
    "4d": (128, (128, 256), (24, 64), 64),
    "4e": (112, (144, 288), (32, 64), 64),
    "4f": (256, (160, 320), (32, 128), 128),
    "5b": (256, (160, 320), (32, 128), 128),
    "5c": (384, (192, 384), (48, 128), 128),
}
POOLS = {"4b": ((3, 3, 3), (2, 2, 2)), "5b": ((2, 2, 2), (2, 2, 2))}  # before the module of that name


def missing(shape, kernel, stride):
    """What TensorFlow's "SAME" pads each axis with, in all: the smaller half goes before."""
    sizes = zip(shape, kernel, stride)
    return [max((-(-length // step) - 1) * step + extent - length, 0) for length, extent, step in sizes]


def max_pool(x: Tensor, kernel, stride) -> Tensor:
    """Padded as in TensorFlow's "SAME": at the end by PyTorch's incomplete windows."""
    before = [total // 2 for total in missing(x.shape[2:], kernel, stride)]
    return nn.functional.max_pool3d(x, kernel, stride, before, ceil_mode=True)


class Unit(nn.Module):
    """Convolution ("SAME"), batch normalization without gamma, ReLU."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1):
        super().__init__()
        self.padded = stride > 1  # by hand, where the two sides differ
        self.conv = nn.Conv3d(inputs, outputs, size, stride, 0 if self.padded else size // 2, bias=False)
        self.norm = nn.BatchNorm3d(outputs, eps=1e-3, momentum=1e-3)
        del self.norm.weight
        self.norm.register_buffer("weight", torch.ones(outputs), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.padded:
            totals = missing(x.shape[2:], self.conv.kernel_size, self.conv.stride)
            pads = [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
            x = nn.functional.pad(x, pads)
        return self.norm(self.conv(x)).relu()


class Mixed(nn.Module):
    """An Inception module."""

    def __init__(self, inputs: int, one, two, three, four):
        super().__init__()
        self.branch0 = Unit(inputs, one, 1)
        self.branch1_a, self.branch1_b = Unit(inputs, two[0], 1), Unit(two[0], two[1], 3)
        self.branch2_a, self.branch2_b = Unit(inputs, three[0], 1), Unit(three[0], three[1], 3)
        self.branch3 = Unit(inputs, four, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = max_pool(x, (3, 3, 3), (1, 1, 1))
        branches = [
            self.branch0(x),
            self.branch1_b(self.branch1_a(x)),
            self.branch2_b(self.branch2_a(x)),
            self.branch3(pooled),
        ]
        return torch.cat(branches, dim=1)


class I3D(nn.Module):
    """I3D for RGB, without dropout."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.conv1a, self.conv2b, self.conv2c = Unit(3, 64, 7, 2), Unit(64, 64, 1), Unit(64, 192, 3)
        inputs = 192
        for name, (one, two, three, four) in MIXED.items():
            self.add_module(f"mixed{name}", Mixed(inputs, one, two, three, four))
            inputs = one + two[1] + three[1] + four
        self.classes = nn.Conv3d(inputs, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = max_pool(self.conv1a(x), (1, 3, 3), (1, 2, 2))
        x = max_pool(self.conv2c(self.conv2b(x)), (1, 3, 3), (1, 2, 2))
        for name in MIXED:
            if name in POOLS:
                x = max_pool(x, *POOLS[name])
            x = getattr(self, f"mixed{name}")(x)
        window = tuple(min(size, extent) for size, extent in zip((2, 7, 7), x.shape[2:]))
        x = self.classes(nn.functional.avg_pool3d(x, window, stride=1))
        return x.permute(0, 2, 3, 4, 1).flatten(1, 3)
