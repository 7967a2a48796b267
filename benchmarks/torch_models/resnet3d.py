"""R3D-18 and R(2+1)D-18 in PyTorch, from the paper (Tran et al. 2018, table 1 and section 3.5).

Parameters have the names of torchvision's checkpoints. Clips are [B, 3, T, H, W], logits [B, 1, K].
"""

from torch import nn


def conv_3d(inputs, outputs, middle, stride):
    return nn.Conv3d(inputs, outputs, 3, stride, padding=1, bias=False)


def conv_2plus1d(inputs, outputs, middle, stride):
    return nn.Sequential(
        nn.Conv3d(inputs, middle, (1, 3, 3), (1, stride, stride), padding=(0, 1, 1), bias=False),
        nn.BatchNorm3d(middle),
        nn.ReLU(),
        nn.Conv3d(middle, outputs, (3, 1, 1), (stride, 1, 1), padding=(1, 0, 0), bias=False),
    )


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, conv, inputs, outputs, stride):
        super().__init__()
        # As many parameters as 3 x 3 x 3 of the first convolution; the authors' code takes it for the second, too.
        middle = inputs * outputs * 27 // (inputs * 9 + 3 * outputs)
        self.conv1 = nn.Sequential(conv(inputs, outputs, middle, stride), nn.BatchNorm3d(outputs), nn.ReLU())
        self.conv2 = nn.Sequential(conv(outputs, outputs, middle, 1), nn.BatchNorm3d(outputs))
        self.downsample: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            projection = nn.Conv3d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm3d(outputs))

    def forward(self, x):
        return (self.conv2(self.conv1(x)) + self.downsample(x)).relu()


class ResNet3D(nn.Module):
    """Widths 64 to 512, scaled."""

    def __init__(self, num_classes, factorized=False, width_multiplier=1.0):
        super().__init__()
        widths = [round(width * width_multiplier) for width in (64, 128, 256, 512)]
        middle = round(45 * width_multiplier)
        if factorized:
            stem = [
                *(nn.Conv3d(3, middle, (1, 7, 7), (1, 2, 2), padding=(0, 3, 3), bias=False), nn.BatchNorm3d(middle)),
                nn.ReLU(),
                nn.Conv3d(middle, widths[0], (3, 1, 1), padding=(1, 0, 0), bias=False),
            ]
        else:
            stem = [nn.Conv3d(3, widths[0], (3, 7, 7), (1, 2, 2), padding=(1, 3, 3), bias=False)]
        self.stem = nn.Sequential(*stem, nn.BatchNorm3d(widths[0]), nn.ReLU())
        conv, inputs = conv_2plus1d if factorized else conv_3d, widths[0]
        for number, width in enumerate(widths, start=1):
            blocks = Block(conv, inputs, width, 1 if number == 1 else 2), Block(conv, width, width, 1)
            setattr(self, f"layer{number}", nn.Sequential(*blocks))
            inputs = width
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x):
        x = self.stem(x)
        for number in range(1, 5):
            x = getattr(self, f"layer{number}")(x)
        return self.fc(x.mean(dim=(2, 3, 4)))[:, None]
