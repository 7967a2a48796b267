r"""Networks that begin from published weights, and fuse time in four ways.

python launch.py --config=configs/pretrained.py:backbone=i3d --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=2 [--config.data.allow_missing=True]
    A linear classifier on features that I3D (Kinetics-400) computes once.

python launch.py --config=configs/pretrained.py:backbone=efficientnet_lite0,fusion=slow,regime=fusion ...
    EfficientNet-Lite0 (ImageNet), inflated: its classifier and the three convolutions that span time are trained.

python launch.py --config=configs/pretrained.py:folder,backbone=efficientnet_lite0 --config.data.root=FOLDER
    Your own videos; configs/finetune.py is made for that.

Arguments:
  backbone  efficientnet_lite0 | i3d | vgg19 | mobilenet_v2 | resnet50 | inception_v3
  fusion    single_frame | early | late | slow (default: single_frame of images, slow of I3D). All are tested on 20
            frames of a video: 20 single ones, 2 clips of 10, or 10 pairs that are 15 frames apart. I3D: 20 still clips,
            2 clips of 10, a pair of clips of 10, one clip of 20.
  regime    what is trained. linear: the classifier; attention_pooler: with attention in the place of the mean over
            places; top, top3: also the last stage, or the last three; fusion: the classifier and the convolutions that
            span time; all; scratch: everything, from random weights.
  size      pixels of a side of what the network sees (224).

Where no layer before the features is trained they are computed once, and kept for later runs. With a frozen trunk and
inflation by averaging, early fusion sees the mean of its frames alone: `linear` is the control of `fusion`.
"""

from vidjax.config import presets, pretrained_recipe
from vidjax.config.arguments import parse_argument

PRESETS = ("ucf101", "folder", "kinetics")


def get_config(argument=""):
    chosen = parse_argument(
        argument,
        PRESETS,
        backbone=tuple(pretrained_recipe.BACKBONES),
        fusion=("", *pretrained_recipe.FUSIONS),
        regime=pretrained_recipe.REGIMES,
        size=224,
    )
    fusion = chosen.fusion or pretrained_recipe.native_fusion(chosen.backbone)
    config = presets.data_config(chosen.preset)
    config.name = "-".join(["pretrained", chosen.preset, chosen.backbone, fusion, chosen.regime])
    pretrained_recipe.pretrained_recipe(config, chosen.backbone, fusion, chosen.regime, chosen.size)
    return config
