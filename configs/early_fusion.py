"""Early fusion (Karpathy et al. 2014): the first convolution sees all T frames of a clip.

python launch.py --config=configs/early_fusion.py
"""

from configs import default
from vidjax.configuration import parse_argument


def get_config(argument=""):
    chosen = parse_argument(argument, default.PRESETS, frames=10)
    config = default.get_config(chosen.preset)
    config.name = default.name_of("early_fusion", chosen.preset)
    config.model.name = "early_fusion"
    config.data.frames = chosen.frames
    return config
