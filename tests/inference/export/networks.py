"""Every network, small, as a program: those that are exported in the default tests, and the others."""

from tests.inference.export import programs
from vidjax import models

_NARROW = {"width_multiplier": 0.05}
# Name in a table -> model, shape of one example, options.
FAST = {
    "slow_fusion": ("slow_fusion", (10, 36, 36, 3), {"normalization": "batch", **_NARROW}),
    "late_fusion": ("late_fusion", (2, 36, 36, 3), {"fuse_at": "scores", "fusion": "max", **_NARROW}),
    "slowfast": ("slowfast_r18_small", (8, 32, 32, 3), {"blocks": (1, 1, 1, 1)}),
    "cnn_gru": ("cnn_lstm", (3, 36, 36, 3), {"cell": "gru", "bidirectional": True, "scored": "mean", **_NARROW}),
}
SLOW = {
    "early_fusion": ("early_fusion", (4, 48, 48, 3), _NARROW),
    "slow_fusion_columns": ("slow_fusion", (10, 48, 48, 3), {"share_columns": False, **_NARROW}),
    "late_fusion_features": ("late_fusion", (2, 48, 48, 3), {"share_towers": False, **_NARROW}),
    "single_frame": ("single_frame", (3, 48, 48, 3), {"normalization": "batch", **_NARROW}),
    "multires": ("multires", (2, 96, 96, 3), _NARROW),
    "c3d": ("c3d", (16, 48, 48, 3), _NARROW),
    "c3d_small": ("c3d_small", (16, 48, 48, 3), {}),
    "r3d_18": ("r3d_18", (4, 48, 48, 3), {"width_multiplier": 0.1}),
    "r2plus1d_18": ("r2plus1d_18", (4, 48, 48, 3), {"width_multiplier": 0.1}),
    "i3d": ("i3d", (9, 64, 64, 3), {}),
    "slowfast_r50_4x16": ("slowfast_r50_4x16", (16, 32, 32, 3), {"width": 16, "blocks": (1, 1, 1, 1)}),
    "slowfast_r50_8x8": ("slowfast_r50_8x8", (8, 48, 48, 3), {"width": 16}),
    "slowfast_sum": (
        "slowfast_r18_small",
        (8, 32, 32, 3),
        {"lateral": "time_to_channel_sum", "beta_inverse": 4, "blocks": (1, 1, 1, 1)},
    ),
    "slow_r50": ("slow_r50", (4, 48, 48, 3), {"width": 8}),
    "slow_r18_small": ("slow_r18_small", (4, 48, 48, 3), {}),
    "fast_r50": ("fast_r50", (4, 48, 48, 3), {}),
    "i3d_r50": ("i3d_r50", (4, 48, 48, 3), {"width": 8}),
    "c2d_r50": ("c2d_r50", (4, 48, 48, 3), {"width": 8}),
    "slowfast_r18_small": ("slowfast_r18_small", (32, 48, 48, 3), {}),
    "capsnet_baseline": ("capsnet_baseline", (1, 28, 28, 3), {"width_multiplier": 0.1}),
    "capsnet": ("capsnet", (2, 28, 28, 3), {"width": 8, "types": 2}),
    "capsule_video": ("capsule_video", (12, 48, 48, 3), {"widths": (4, 4, 8), "types": 2}),
    "cnn_lstm": ("cnn_lstm", (3, 48, 48, 3), {"layers": 2, "scored": "each", **_NARROW}),
    "conv_pooling": ("cnn_lstm", (3, 64, 64, 3), {"backbone": "mobilenet_v2", "cell": "max", "units": 8}),
    "flow_cnn": ("flow_cnn", (3, 48, 48, 2), _NARROW),
    "siamese": ("siamese", (4, 16, 16, 3), {"widths": (2, 3, 4), "units": 5}),
    "capsule_lstm": ("capsule_lstm", (8, 48, 48, 3), {"segments": 2, "widths": (4, 4, 8), "types": 2}),
    "pose_lstm": ("pose_lstm", (5, 7, 3), {"velocities": True, "units": 5, "hidden": 4}),
    "two_stream": ("two_stream", (3, 48, 48, 3), {"normalization": "batch", **_NARROW}),
    "vgg19": ("vgg19", (2, 64, 64, 3), {}),
    "mobilenet_v2": ("mobilenet_v2", (2, 64, 64, 3), {}),
    "efficientnet_lite0": ("efficientnet_lite0", (2, 64, 64, 3), {}),
    "resnet50": ("resnet50", (2, 64, 64, 3), {}),
    "inception_v3": ("inception_v3", (2, 96, 96, 3), {}),
}


def program(name):
    """Its logits."""
    model, shape, options = (FAST | SLOW)[name]
    return programs.of_module(models.create(model, num_classes=4, **options), *shape)
