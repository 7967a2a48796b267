"""MobileNetV2 in PyTorch, from the paper (Sandler et al. 2018, table 2). Images are [B, 3, H, W], logits [B, 1, K]."""

from collections.abc import Iterator

from torch import Tensor, nn

# Table 2: expansion, output channels, blocks, stride of the first of them.
BLOCKS = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
STEM, LAST = 32, 1280


def layers(inputs: int, outputs: int, extent: int, stride: int = 1, groups: int = 1) -> Iterator[nn.Module]:
    """Convolution and batch normalization."""
    yield nn.Conv2d(inputs, outputs, extent, stride, extent // 2, groups=groups, bias=False)
    yield nn.BatchNorm2d(outputs)


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection (figure 4)."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        self.is_expanded, self.is_residual = expansion != 1, stride == 1 and inputs == outputs
        if self.is_expanded:
            self.expand, self.expand_norm = layers(inputs, hidden, 1)
        self.depthwise, self.depthwise_norm = layers(hidden, hidden, 3, stride, hidden)
        self.project, self.project_norm = layers(hidden, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.relu6(self.expand_norm(self.expand(x))) if self.is_expanded else x
        y = self.project_norm(self.project(nn.functional.relu6(self.depthwise_norm(self.depthwise(y)))))
        return x + y if self.is_residual else y


class MobileNetV2(nn.Module):
    """MobileNetV2, of width 1 and without dropout."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.stem, self.stem_norm = layers(3, STEM, 3, 2)
        inputs, number = STEM, 0
        for expansion, outputs, repeats, stride in BLOCKS:
            for repeat in range(repeats):
                block = InvertedResidual(inputs, outputs, stride if repeat == 0 else 1, expansion)
                self.add_module(f"block{number}", block)
                inputs, number = outputs, number + 1
        self.last, self.last_norm = layers(inputs, LAST, 1)
        self.classes = nn.Linear(LAST, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu6(self.stem_norm(self.stem(x)))
        for name, block in self.named_children():
            if name.startswith("block"):
                x = block(x)
        x = nn.functional.relu6(self.last_norm(self.last(x)))
        return self.classes(x.mean(dim=(2, 3)))[:, None]
