r"""Features of frames and recurrent layers over them (LRCN, Donahue et al. 2015; Ng et al. 2015).

python launch.py --config=configs/cnn_lstm.py
    The embedded data set `motion`: the convolutions of single_frame at a quarter of the width, on 4 frames, and two
    layers of 512 LSTM cells. 2 CPU cores: four minutes. Seed 0: 29.9% of the test videos (chance 12.5%).

python launch.py --config=configs/cnn_lstm.py:backbone=efficientnet_lite0,ucf101 --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=2 [--config.data.allow_missing=True]
    An LSTM on features that EfficientNet-Lite0 (ImageNet) computes once.

python launch.py --config=configs/cnn_lstm.py:folder,backbone=efficientnet_lite0 --config.data.root=FOLDER
    Your own videos, one folder per class.

Arguments:
  backbone  alexnet (from scratch) | efficientnet_lite0 | mobilenet_v2 | resnet50 | inception_v3 | vgg19
  cell      lstm | gru | rnn | max (the maximum of each feature over time: Ng's conv pooling, the control)
  scored    last | mean | each: the state after the last frame, the mean of all states, or each of them, with losses
            that weigh later frames more (Ng)
  regime    what of a published backbone is trained besides the rest: linear (nothing) | top | top3 | all | scratch
"""

from vidjax.config import presets, pretrained_recipe
from vidjax.config.arguments import parse_argument
from vidjax.errors import ConfigError

IMAGES = tuple(name for name in pretrained_recipe.BACKBONES if name != "i3d")


def get_config(argument=""):
    chosen = parse_argument(
        argument,
        presets.PRESETS,
        backbone=("alexnet", *IMAGES),
        cell=("lstm", "gru", "rnn", "max"),
        scored=("last", "mean", "each"),
        regime=pretrained_recipe.RECURRENT_REGIMES,
    )
    is_scratch, has_cells = chosen.backbone == "alexnet", chosen.cell != "max"
    if is_scratch and "regime" in chosen.changed:
        raise ConfigError(f"regime={chosen.regime} is of a published backbone: leave it out, or give backbone=...")
    if not has_cells and "scored" in chosen.changed:
        raise ConfigError(f"scored={chosen.scored} is of recurrent cells: leave it out with cell=max")
    config = presets.data_config(chosen.preset)
    if is_scratch:
        presets.fusion_recipe(config, chosen.preset)
        presets.few_frames_in_turn(config, chosen.preset, has_cells=has_cells)
        config.evaluate.crop = None  # its first dense layer takes feature maps of one size
        config.model.name = "cnn_lstm"
    else:
        pretrained_recipe.recurrent_recipe(config, chosen.backbone, chosen.regime, has_cells=has_cells)
    config.name = presets.name_of("cnn_lstm", chosen)
    config.model.cell = chosen.cell
    if has_cells:
        config.model.scored = chosen.scored
    if chosen.scored == "each":
        config.loss.average = "growing"
    return config
