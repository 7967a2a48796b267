r"""I3D (Carreira & Zisserman 2017): Inception-V1 inflated to 3D.

python launch.py --config=configs/i3d.py:ucf101 --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=1
    From scratch: 64 frames of 224 pixels from a short side of 256, SGD with momentum 0.9 at 0.1 (section 3). Needs
    several GPUs. Not run here; the paper has 84.5% after ImageNet (RGB, split 1) and 95.1% after Kinetics (RGB, mean
    of three splits); it lowers the rate where the loss saturates, which is half a cosine here.

    The preset kinetics trains it so on Kinetics, with the batch and the schedule of `configs/slowfast.py`.

python launch.py --config=configs/i3d.py:folder --config.data.root=FOLDER
    Your own videos: 16 frames of 112 pixels, on one GPU or with patience.

python launch.py --config=configs/i3d.py:ucf101,stream=flow --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=1
    The flow stream (section 2.4): TV-L1 of frames of 256 pixels, clipped to 20 pixels, from -1 to 1. In the paper it is
    trained by itself, and the scores of both streams are averaged (python -m vidjax ensemble RUN RUN). TV-L1 takes a
    second a frame and core: compute it before, on many cores (python -m vidjax flow --shard=I/N), or set
    data.flow=dis_fast. Its published weights are not among those that vidjax fetches. Not run here.

python -m vidjax predict VIDEO --pretrained=i3d-kinetics400
    The published Kinetics-400 weights on a video, without training.

Arguments:
  frames  T, frames of a clip (64; 16 for the presets that are small)
  stream  rgb | flow
"""

from vidjax.config import presets
from vidjax.config.arguments import parse_argument


def get_config(argument=""):
    chosen = parse_argument(argument, presets.PRESETS, frames=0, stream=("rgb", "flow"))
    config = presets.data_config(chosen.preset)
    config.name = presets.name_of("i3d", chosen)
    config.model.name = "i3d"
    if chosen.preset not in presets.LARGE:
        presets.small_3d_recipe(config, chosen.preset)
        if chosen.preset not in presets.MOTION:
            config.data.short_side = config.data.crop = 128
            config.preprocessing.crop = 112
    else:
        presets.length_and_views(config, chosen.preset)
        if chosen.preset == "kinetics":
            presets.slowfast_schedule(config)
        else:
            config.model.dropout = 0.5
        config.data.frames = 64
        config.data.short_side = 256
        config.data.crop = 256
        config.data.crop_position = "random"
        config.preprocessing.crop = 224
        config.optimizer.name = "momentum"
        config.optimizer.learning_rate = 0.1
        config.optimizer.l2 = 1e-7
    config.data.frames = chosen.frames or config.data.frames
    config.preprocessing.mean = config.preprocessing.std = 127.5  # values from -1 to 1
    if chosen.stream == "flow":
        config.data.flow, config.model.in_channels = "tvl1", 2
    config.loss.average = config.evaluate.average = "logits"
    return config
