r"""The temporal stream on optical flow, or both streams trained together (Simonyan and Zisserman 2014).

pip install -r requirements-flow.txt && python launch.py --config=configs/two_stream.py
    The embedded data set `motion`: 10 fields of flow, at a quarter of the paper's width. 2 CPU cores: two and a half
    minutes, of which the flow of all clips takes one. Seed 0: 98.0% of the test videos (chance 12.5%).

python launch.py --config=configs/two_stream.py:ucf101_small --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=2 [--config.data.allow_missing=True]
    64 -> 56 pixels.

python launch.py --config=configs/two_stream.py:ucf101 --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=1
    Close to the paper's setting: 224 pixels, 25 clips x 10 crops. Needs a GPU; not run here.

python launch.py --config=configs/two_stream.py:folder --config.data.root=FOLDER
    Your own videos, one folder per class.

Arguments:
  variant  flow_cnn: the temporal stream | two_stream: both, trained together. The paper trains the streams apart and
           averages their scores: train configs/single_frame.py on the same data besides, then
           python -m vidjax ensemble RUN RUN.

Flow is computed when a run begins, and kept; python -m vidjax flow does that before.
"""

from vidjax.config import presets
from vidjax.config.arguments import parse_argument


def get_config(argument=""):
    chosen = parse_argument(argument, presets.PRESETS, variant=("flow_cnn", "two_stream"))
    config = presets.data_config(chosen.preset)
    presets.fusion_recipe(config, chosen.preset)
    config.name = presets.name_of("two_stream", chosen)
    config.model.name = chosen.variant
    config.evaluate.crop = None  # dense layers take feature maps of one size
    config.data.flow = "dis_fast"
    if chosen.preset == "ucf101":
        presets.two_stream_recipe(config)
    return config
