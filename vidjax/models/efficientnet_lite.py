"""Tan & Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (ICML): EfficientNet-Lite0.

The Lite variant (the authors' code, tpu/models/official/efficientnet/lite) is EfficientNet-B0 (table 1) without
squeeze-and-excitation and with ReLU6 in place of swish: 4,652,008 parameters with 1000 classes. Its inputs are
(p - 127) / 128 for pixel values p in 0..255.
"""

from typing import ClassVar

from vidjax.models.mobilenet_v2 import BlockStage, InvertedResidualTrunk


class EfficientNetLite0(InvertedResidualTrunk):
    """EfficientNet-Lite0 without its classifier: 3,371,008 parameters; the published weights are of variant "keras"."""

    DEFAULT_VARIANT: ClassVar[str] = "keras"
    TABLE: ClassVar[tuple[BlockStage, ...]] = (
        BlockStage(3, 1, 1, 16, 1),
        BlockStage(3, 2, 6, 24, 2),
        BlockStage(5, 2, 6, 40, 2),
        BlockStage(3, 2, 6, 80, 3),
        BlockStage(5, 1, 6, 112, 3),
        BlockStage(5, 2, 6, 192, 4),
        BlockStage(3, 1, 6, 320, 1),
    )
