"""SlowFast and related networks in PyTorch, after Feichtenhofer et al. 2019 (table 1) and Wang et al. 2018 (table 1).

Parameters have the names of PySlowFast's checkpoints. Clips are [B, 3, T, H, W], logits [B, N, K].
"""

from typing import Any

import torch
from torch import nn

DEPTH = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
# Temporal kernels of the stem, then of each block of res2 to res5, at depth 50.
SLOW: tuple[Any, ...] = (1, [1] * 3, [1] * 4, [3] * 6, [3] * 3)
FAST: tuple[Any, ...] = (5, [3] * 3, [3] * 4, [3] * 6, [3] * 3)
I3D: tuple[Any, ...] = (5, [3, 3, 3], [3, 1, 3, 1], [3, 1, 3, 1, 3, 1], [1, 3, 1])
C2D: tuple[Any, ...] = (1, [1] * 3, [1] * 4, [1] * 6, [1] * 3)


def conv(inputs, outputs, kernel, stride=(1, 1, 1)):
    return nn.Conv3d(inputs, outputs, kernel, stride, padding=tuple(k // 2 for k in kernel), bias=False)


class Stem(nn.Module):
    """Convolution, batch normalization, ReLU and pool."""

    def __init__(self, width, kernel):
        super().__init__()
        self.conv = conv(3, width, (kernel, 7, 7), (1, 2, 2))
        self.bn = nn.BatchNorm3d(width)
        self.relu = nn.ReLU()
        self.pool_layer = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))

    def forward(self, x):
        return self.pool_layer(self.relu(self.bn(self.conv(x))))


class Bottleneck(nn.Module):
    """Three convolutions."""

    def __init__(self, inputs, inner, outputs, kernel, stride):
        super().__init__()
        self.a, self.a_bn = conv(inputs, inner, (kernel, 1, 1)), nn.BatchNorm3d(inner)
        self.b, self.b_bn = conv(inner, inner, (1, 3, 3), (1, stride, stride)), nn.BatchNorm3d(inner)
        self.c, self.c_bn = conv(inner, outputs, (1, 1, 1)), nn.BatchNorm3d(outputs)

    def forward(self, x):
        x = self.a_bn(self.a(x)).relu()
        x = self.b_bn(self.b(x)).relu()
        return self.c_bn(self.c(x))


class Basic(nn.Module):
    """Two convolutions."""

    def __init__(self, inputs, inner, outputs, kernel, stride):
        super().__init__()
        self.a, self.a_bn = conv(inputs, outputs, (kernel, 3, 3), (1, stride, stride)), nn.BatchNorm3d(outputs)
        self.b, self.b_bn = conv(outputs, outputs, (1, 3, 3)), nn.BatchNorm3d(outputs)

    def forward(self, x):
        return self.b_bn(self.b(self.a_bn(self.a(x)).relu()))


class Block(nn.Module):
    """A residual block."""

    def __init__(self, transform, inputs, outputs, kernel, stride):
        super().__init__()
        if inputs != outputs or stride != 1:
            self.branch1 = conv(inputs, outputs, (1, 1, 1), (1, stride, stride))
            self.branch1_bn = nn.BatchNorm3d(outputs)
        self.branch2 = transform(inputs, outputs // 4, outputs, kernel, stride)

    def forward(self, x):
        shortcut = self.branch1_bn(self.branch1(x)) if hasattr(self, "branch1") else x
        return (shortcut + self.branch2(x)).relu()


class Fuse(nn.Module):
    """The lateral connection: what the fast pathway brings, beside what the slow one has."""

    def __init__(self, width, kernel, alpha):
        super().__init__()
        self.conv_f2s = conv(width, 2 * width, (kernel, 1, 1), (alpha, 1, 1))
        self.bn = nn.BatchNorm3d(2 * width)
        self.relu = nn.ReLU()

    def forward(self, slow, fast):
        return torch.cat([slow, self.relu(self.bn(self.conv_f2s(fast)))], dim=1)


class Head(nn.Module):
    """Average over all time and each window in space, and the classifier."""

    def __init__(self, inputs, num_classes, window):
        super().__init__()
        self.window = window
        self.projection = nn.Linear(inputs, num_classes)

    def forward(self, pathways):
        pooled = [nn.functional.avg_pool3d(x, (x.shape[2], self.window, self.window), stride=1) for x in pathways]
        x = torch.cat(pooled, dim=1).permute(0, 2, 3, 4, 1)
        return self.projection(x).flatten(1, 3)


def add_stage(model: Any, number, pathway, transform, inputs, outputs, kernels):
    """Puts the blocks of a stage of one pathway into `model.s{number}`."""
    if not hasattr(model, f"s{number}"):
        setattr(model, f"s{number}", nn.Module())
    for index, kernel in enumerate(kernels):
        stride = 2 if index == 0 and number > 2 else 1
        block = Block(transform, inputs if index == 0 else outputs, outputs, kernel, stride)
        getattr(model, f"s{number}").add_module(f"pathway{pathway}_res{index}", block)


def run_stage(model, number, pathway, x):
    for name, block in getattr(model, f"s{number}").named_children():
        if name.startswith(f"pathway{pathway}_"):
            x = block(x)
    return x


class SlowFast(nn.Module):
    """SlowFast 4x16 (alpha 8, lateral kernel 5) or 8x8 (alpha 4, lateral kernel 7) by default with ResNet-50."""

    def __init__(self, num_classes, alpha=8, lateral_kernel=5, *, depth=50, width=64, beta_inverse=8, window=7):
        super().__init__()
        self.alpha = alpha
        transform, expansion = (Bottleneck, 4) if depth == 50 else (Basic, 1)
        fast_width = width // beta_inverse
        self.s1: Any = nn.Module()
        self.s1.pathway0_stem, self.s1.pathway1_stem = Stem(width, SLOW[0]), Stem(fast_width, FAST[0])
        self.s1_fuse = Fuse(fast_width, lateral_kernel, alpha)
        inputs = (width, fast_width)
        for number in range(2, 6):
            outputs = tuple(w * expansion * 2 ** (number - 2) for w in (width, fast_width))
            for pathway, table in enumerate((SLOW, FAST)):
                before = inputs[0] + 2 * inputs[1] if pathway == 0 else inputs[1]
                kernels = table[number - 1][: DEPTH[depth][number - 2]]
                add_stage(self, number, pathway, transform, before, outputs[pathway], kernels)
            if number < 5:
                setattr(self, f"s{number}_fuse", Fuse(outputs[1], lateral_kernel, alpha))
            inputs = outputs
        self.head = Head(sum(inputs), num_classes, window)

    def slow_frames(self, count, device=None):
        return torch.linspace(0, count - 1, count // self.alpha, device=device).long()

    def forward(self, x):
        slow = self.s1.pathway0_stem(x[:, :, self.slow_frames(x.shape[2], x.device)])
        fast = self.s1.pathway1_stem(x)
        slow = self.s1_fuse(slow, fast)
        for number in range(2, 6):
            slow, fast = (run_stage(self, number, pathway, x) for pathway, x in enumerate((slow, fast)))
            if number < 5:
                slow = getattr(self, f"s{number}_fuse")(slow, fast)
        return self.head([slow, fast])


class SinglePathway(nn.Module):
    """Slow (the default), Fast, I3D or C2D with ResNet-50; the last two have a pool over time after res2."""

    def __init__(self, num_classes, kernels=SLOW, pool_time=False, *, width=64, window=7):
        super().__init__()
        self.s1: Any = nn.Module()
        self.s1.pathway0_stem = Stem(width, kernels[0])
        inputs = width
        for number in range(2, 6):
            outputs = width * 2**number
            add_stage(self, number, 0, Bottleneck, inputs, outputs, kernels[number - 1])
            inputs = outputs
        self.pathway0_pool = nn.MaxPool3d((2, 1, 1)) if pool_time else nn.Identity()
        self.head = Head(inputs, num_classes, window)

    def forward(self, x):
        x = self.pathway0_pool(run_stage(self, 2, 0, self.s1.pathway0_stem(x)))
        for number in range(3, 6):
            x = run_stage(self, number, 0, x)
        return self.head([x])


def slowfast_r18_small(num_classes: int, side: int) -> SlowFast:
    """SlowFast small, as in `vidjax.models.slowfast`, without dropout, for clips of this height and width."""
    return SlowFast(num_classes, 4, 5, depth=18, width=16, beta_inverse=4, window=min(7, -(-side // 32)))
