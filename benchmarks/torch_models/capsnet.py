"""CapsNet in PyTorch, from the paper (Sabour, Frosst and Hinton 2017), for gray images.

Images are [B, 3, T, H, W] with one frame, T = 1. The decoder only reconstructs the image of the label, which is all
that the loss uses.
"""

import itertools

import torch
from torch import Tensor, nn


def wide(x: Tensor) -> Tensor:
    """Converts to at least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def lengths(poses: Tensor) -> Tensor:
    """Lengths along the last axis; the gradient at zero is zero."""
    squared = poses.square().sum(-1)
    return torch.where(squared > 0, torch.where(squared > 0, squared, 1).sqrt(), 0)


def squash(poses: Tensor) -> Tensor:
    """Equation 1."""
    length = lengths(poses)[..., None]
    return poses * (length / (1 + length.square()))


class CapsNet(nn.Module):
    """Conv(width, 9) - PrimaryCaps(types x 8D, 9, stride 2) - K x 16D by routing - 512 - 1024 - pixels."""

    def __init__(self, num_classes: int, side: int, width: int = 256, types: int = 32, iterations: int = 3):
        super().__init__()
        self.iterations = iterations
        self.conv1, self.primary = nn.Conv2d(1, width, 9), nn.Conv2d(width, 8 * types, 9, stride=2)
        inputs = types * ((side - 8 - 9) // 2 + 1) ** 2
        self.kernel = nn.Parameter(0.1 * torch.randn(inputs, 8, num_classes, 16))
        sizes = (16 * num_classes, 512, 1024, side * side)
        self.fc1, self.fc2, self.fc3 = (nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def poses(self, pictures: Tensor) -> Tensor:
        """[B, K, 16] of gray images [B, 1, H, W]."""
        x = self.primary(self.conv1(pictures).relu()).permute(0, 2, 3, 1)
        primary = squash(wide(x.reshape(len(x), -1, 8)))
        votes = torch.einsum("bip,ipjd->bijd", primary, self.kernel)
        logits = torch.zeros(votes.shape[:3], dtype=primary.dtype, device=votes.device)
        for iteration in range(self.iterations):
            poses = squash(wide(torch.einsum("bij,bijd->bjd", logits.softmax(dim=2), votes)))
            if iteration + 1 < self.iterations:
                logits = logits + torch.einsum("bijd,bjd->bij", votes, poses)
        return poses

    def forward(self, x: Tensor) -> Tensor:
        return lengths(self.poses(x[:, :1, 0]))[:, None]

    def loss(self, x: Tensor, label: Tensor, reconstruction: float) -> Tensor:
        """The margin loss (equation 4) and the squared error of the label's picture (section 4.1), over a batch."""
        pictures = x[:, :1, 0]
        poses = self.poses(pictures)
        length = lengths(poses)
        is_label = nn.functional.one_hot(label, length.shape[1]).to(length.dtype)
        margin = is_label * (0.9 - length).relu().square() + 0.5 * (1 - is_label) * (length - 0.1).relu().square()
        drawn = (poses * is_label[..., None]).flatten(1)
        drawn = self.fc3(self.fc2(self.fc1(drawn).relu()).relu()).sigmoid()
        errors = (wide(drawn) - wide(pictures.flatten(1))).square().sum(1)
        return (margin.sum(1) + reconstruction * errors).mean()
