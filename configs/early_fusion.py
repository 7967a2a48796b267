r"""Early fusion (Karpathy et al. 2014): the first convolution sees all T frames of a clip.

python launch.py --config=configs/early_fusion.py
    The embedded data set `motion`, a quarter of the paper's width. 2 CPU cores: one to three minutes,
    with 25 seconds for making the data once. Gives about 96% video top-1 (chance 12.5%).

python launch.py --config=configs/early_fusion.py:motion_hard
    Two motions, whose order counts, more than 15 frames apart. 1000 steps, 2 CPU cores: two to four minutes. Gives
    about 81% (knowing both motions without their order gives 50%).

python launch.py --config=configs/early_fusion.py:ucf101_small --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=2 [--config.data.allow_missing=True]
    64 -> 56 pixels. On the 176 clips of 8 classes that the tests use, 2 CPU cores: two minutes;
    results: docs/results.md. On all of UCF101 raise train.epochs: 300 steps are one epoch.

python launch.py --config=configs/early_fusion.py:ucf101 --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=1
    Close to the paper's setting: 170 pixels, response normalization, SGD with momentum; a cosine schedule where the
    paper lowers the rate by hand, and 20 clips x 2 flips per test video. Needs a GPU. Not run here; the paper gives no
    figure for early fusion on UCF101 (its slow fusion from scratch: 41.3%, mean of three splits).

python launch.py --config=configs/early_fusion.py:folder --config.data.root=FOLDER
    Your own videos, one folder per class; 64 -> 56 pixels, 30 epochs. With 176 clips of 8 classes of UCF101, 128 of
    them to train on, one to two minutes on 2 CPU cores: 47% of the 32 test videos (chance 12.5%; two seeds). With 88
    clips of 4 classes, 63 and 75% of 16 (chance 25%), in half the time. With 150 epochs there, as with 300 steps, the
    validation loss trebles and 56% are right. Where 30 epochs of very few clips are too few steps, raise train.epochs.

Argument: frames=T, frames of a clip (10).
"""

from vidjax.config import presets
from vidjax.config.arguments import parse_argument


def get_config(argument=""):
    chosen = parse_argument(argument, presets.PRESETS, frames=10)
    config = presets.get_config(chosen.preset)
    config.name = presets.name_of("early_fusion", chosen)
    config.model.name = "early_fusion"
    config.data.frames = chosen.frames
    return config
