r"""CapsNet (Sabour et al. 2017) on handwritten digits: capsules with routing by agreement.

python launch.py --config=configs/capsnet.py --config.model.width=64 --config.model.types=8
    Without MNIST's files, scikit-learn's 1,797 digits of 8 x 8 pixels stand in for them, enlarged to 28 x 28; a narrow
    network for small machines.

python launch.py --config=configs/capsnet.py --config.data.root=mnist
    The paper's network on the idx files in that folder, plain or gzipped; where t10k's alone are there, its 10,000
    digits are cut into 8,000, 1,000 and 1,000. On one CPU core a step of 128 takes 2 to 3.3 seconds, so an epoch of
    8,000 digits 2 to 3.5 minutes: give --config.train.epochs. After 16 epochs of 8,000 digits, about 0.8% of the 1,000
    are wrong (docs/results.md).

Margin loss with the reconstruction; Adam, whose rate falls by a cosine from 1e-3 (in the paper exponentially). Shifts
of up to 2 pixels are drawn from all in between, so that shifted digits are a little blurred; the paper's are whole. The
paper trains on all 60,000 digits until the error is 0.25% (3 iterations, reconstruction).

Argument: variant=capsnet|capsnet_baseline (the paper's convolutional network, with cross-entropy).
"""

from vidjax.config import presets
from vidjax.config.arguments import parse_argument


def get_config(argument=""):
    chosen = parse_argument(argument, ("mnist",), variant=("capsnet", "capsnet_baseline"))
    config = presets.data_config("mnist")
    presets.length_and_views(config, "mnist")
    config.name = chosen.variant
    config.model.name = chosen.variant
    if chosen.variant == "capsnet":
        config.loss.name = "margin"
        config.loss.reconstruction = 5e-4
        config.evaluate.average = "lengths"
    return config
