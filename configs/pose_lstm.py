r"""Poses and recurrent layers: the joints of the person in each frame, by an off-the-shelf detector (BlazePose).

pip install -r requirements-pose.txt && python launch.py --config=configs/pose_lstm.py --config.data.root=FOLDER
    Your own videos, one folder per class. 32 frames that span a video. The poses of all frames are found when the first
    run begins, about 25 frames a second and core of an AMD EPYC with AVX2, and kept.

python launch.py --config=configs/pose_lstm.py:ucf101 --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=2 [--config.data.allow_missing=True]
    300 steps, for a few hundred clips; for all of UCF101 set train.epochs, e.g. to 20. On the 176 clips of the tests a
    run takes 20 seconds after the poses, which take 10 minutes on 2 cores; folds 2 and 3 of them, 3 seeds: 73.2 +- 1.5%
    of 112 videos (experiments/methods.py --only='pose*'; chance 12.5%).

python -m vidjax pose finds the poses before, and draws them. There are no people in the embedded data set.

Arguments:
  cell        lstm | gru | rnn
  normalized  clip | frame | none: by the body's center and size over the whole clip, in each frame, or not
  scored      mean | last | each: the mean of all states, the state after the last frame, or each of them
"""

from vidjax.config import presets
from vidjax.config.arguments import parse_argument


def get_config(argument=""):
    chosen = parse_argument(
        argument,
        ("folder", "ucf101"),
        cell=("lstm", "gru", "rnn"),
        normalized=("clip", "frame", "none"),
        scored=("mean", "last", "each"),
    )
    preset = {"ucf101": "ucf101_small"}.get(chosen.preset, chosen.preset)
    config = presets.data_config(preset)
    presets.length_and_views(config, preset)
    presets.pose_recipe(config)
    config.name = presets.name_of("pose_lstm", chosen)
    config.model.name = "pose_lstm"
    config.model.cell, config.model.normalized, config.model.scored = chosen.cell, chosen.normalized, chosen.scored
    return config
