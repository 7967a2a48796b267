"""Single frame (Karpathy et al. 2014): one frame at random in training, scores of ten averaged in testing.

python launch.py --config=configs/single_frame.py
"""

from configs import default
from vidjax.configuration import parse_argument


def get_config(argument=""):
    chosen = parse_argument(argument, default.PRESETS)
    config = default.get_config(chosen.preset)
    config.name = default.name_of("single_frame", chosen.preset)
    config.model.name = "single_frame"
    config.data.frames = 1
    config.data.stride = 1
    config.evaluate.clips = max(10, config.evaluate.clips)
    config.evaluate.validation_clips = 10
    return config
