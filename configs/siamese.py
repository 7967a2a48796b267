r"""A siamese network on RGB and optical flow: two branches of 3D convolutions with the same weights.

pip install -r requirements-flow.txt && python launch.py --config=configs/siamese.py
    The embedded data set `motion`: 16 frames and their flow. 2 CPU cores: about 40 minutes; not run to its end here.

python launch.py --config=configs/siamese.py:ucf101_small --config.data.root=UCF-101 \
    --config.data.splits=ucfTrainTestlist --config.data.split=2 [--config.data.allow_missing=True]
    64 -> 56 pixels.

python launch.py --config=configs/siamese.py:folder --config.data.root=FOLDER
    Your own videos, one folder per class.

python launch.py --config=configs/siamese.py:mnist [--config.data.root=mnist] [--config.data.positive_class=3]
    Digits, as in the first project: each with its gradient picture in the place of flow. Without a folder of MNIST's
    files scikit-learn's digits; positive_class=3 tells threes from all others.

Arguments:
  branches  both | rgb | flow
  tied      all | trunk | none: weights that both branches share
  merge     concatenate | sum | product | difference

The first project's own settings: data.frames=100, preprocessing.crop=100, SGD at 1e-3 with Nesterov momentum 0.5, one
clip a step, 30 epochs, rotation 10, zoom and shift 0.1.
"""

from vidjax.config import presets
from vidjax.config.arguments import parse_argument


def get_config(argument=""):
    chosen = parse_argument(
        argument,
        (*presets.PRESETS, "mnist"),
        branches=("both", "rgb", "flow"),
        tied=("all", "trunk", "none"),
        merge=("concatenate", "sum", "product", "difference"),
    )
    config = presets.data_config(chosen.preset)
    config.name = presets.name_of("siamese", chosen)
    config.model.name = "siamese"
    presets.small_3d_recipe(config, chosen.preset)
    if chosen.preset == "kinetics":
        presets.slowfast_recipe(config)
        config.evaluate.crop = None  # its dense layer takes feature maps of one size
    config.model.branches, config.model.tied, config.model.merge = chosen.branches, chosen.tied, chosen.merge
    config.model.normalization = "batch"
    if chosen.preset == "mnist":
        config.data.inputs = None if chosen.branches == "rgb" else "flow=gradient"
    else:
        config.data.flow = None if chosen.branches == "rgb" else "dis_fast"
    return config
