"""Random initialization: image networks and I3D x single frame, early, late and slow fusion, from scratch.

  python launch.py --experiment=experiments/random_fusion.py --workdir=runs/experiments/random_fusion \
      --config.data.root=UCF-101 --config.data.splits=ucfTrainTestlist --config.data.allow_missing=True

At 64 x 64 pixels, one seed, so that 2 cores do it in an evening: 40 runs, whose cost is printed before the first.
Inception-v3 is not among them: 64 pixels are too few for it. Every run starts from random weights.
"""

from vidjax.experiment.plan import INTERVAL_COLUMNS, Experiment, Setting


def get_experiment():
    names = {
        "VGG19": "vgg19",
        "MobileNetV2": "mobilenet_v2",
        "EfficientNet-Lite0": "efficientnet_lite0",
        "ResNet50": "resnet50",
        "I3D": "i3d",
    }
    fusions = {"single frame": "single_frame", "early": "early", "late": "late", "slow": "slow"}
    return Experiment(
        name="random_fusion",
        title="Random initialization x fusion, on UCF101 clips of 8 classes at 64 pixels: chance 12.5%",
        axes={
            "network": {label: Setting(argument=f"backbone={name}") for label, name in names.items()},
            "fusion": {
                label: Setting(f"configs/pretrained.py:fusion={fusion},regime=scratch,size=64")
                for label, fusion in fusions.items()
            },
        },
        splits=(2, 3),
        columns=(*INTERVAL_COLUMNS, "frames", "seconds"),
    )
