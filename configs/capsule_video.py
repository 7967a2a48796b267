r"""Capsules on clips, by EM routing (after VideoCapsuleNet, Duarte et al. 2018), for classification.

python launch.py --config=configs/capsule_video.py
    The embedded data set `motion`, 16 frames at stride 1; 8 minutes on one CPU core. About 98% of the test
    videos (docs/results.md; chance 12.5%).

python launch.py --config=configs/capsule_video.py:ucf101_small --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=2 [--config.data.allow_missing=True]
    64 -> 56 pixels; 5 minutes for a split of 176 clips of 8 classes on one CPU core (docs/results.md).

python launch.py --config=configs/capsule_video.py:variant=capsule_lstm
    The class capsules of each of 4 segments of a clip, read in turn by LSTM cells, with cross-entropy; not run to its
    end here.

Spread loss, whose margin grows from 0.2 to 0.9 in the first half of the run (in the paper by 0.1 every five epochs);
AdamW at 3e-4: at 1e-3 one seed of two stopped at 71%. The convolutional capsules are averages of their votes, without
routing (`model.conv_iterations=1`); the class capsules are routed.
"""

from vidjax.config import presets
from vidjax.config.arguments import parse_argument


def get_config(argument=""):
    chosen = parse_argument(argument, presets.PRESETS, variant=("capsule_video", "capsule_lstm"))
    config = presets.data_config(chosen.preset)
    config.name = presets.name_of("capsule_video", chosen)
    config.model.name = chosen.variant
    presets.small_3d_recipe(config, chosen.preset, has_dropout=False)
    if chosen.preset == "kinetics":
        presets.slowfast_recipe(config)
    config.optimizer.learning_rate = 3e-4
    if chosen.variant == "capsule_lstm":
        return config
    config.loss.name = "spread"
    config.loss.margin_start = 0.2
    config.loss.margin_end = 0.9
    config.loss.margin_fraction = 0.5
    config.evaluate.average = "lengths"
    return config
