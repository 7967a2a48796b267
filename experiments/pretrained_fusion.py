"""Networks with published weights x single frame, early, late and slow fusion.

Where only a part of UCF101 is on the disk:

  python -m vidjax weights fetch efficientnet-lite0-imagenet && python -m vidjax weights fetch i3d-kinetics400
  python launch.py --experiment=experiments/pretrained_fusion.py --workdir=runs/experiments/pretrained_fusion \
      --config.data.root=UCF-101 --config.data.splits=ucfTrainTestlist --config.data.allow_missing=True
  python -m vidjax collect runs/experiments/pretrained_fusion && python -m vidjax readme

Every run sees 20 frames of a video in testing (of I3D's late fusion, 20 of 25), and the same in training, except early
and slow fusion of images: they draw their training clips from the whole video. The regime `fusion` trains the
classifier and the convolutions that span time; where none does, that is a linear classifier on features that were
computed once. 96 runs; those whose weights are not on the machine are left out, and say how to get them. Reachable by
pip alone: EfficientNet-Lite0 and I3D.
"""

from vidjax.experiment.plan import INTERVAL_COLUMNS, Experiment, Setting

NETWORKS = {
    "VGG19": ("vgg19", "vgg19-imagenet"),
    "MobileNetV2": ("mobilenet_v2", "mobilenet-v2-imagenet"),
    "EfficientNet-Lite0": ("efficientnet_lite0", "efficientnet-lite0-imagenet"),
    "I3D, Kinetics-400": ("i3d", "i3d-kinetics400"),
}


def get_experiment():
    return Experiment(
        name="pretrained_fusion",
        title="Published weights x fusion, on UCF101 clips of 8 classes: chance 12.5%",
        axes={
            "network": {
                name: Setting(argument=f"backbone={backbone}", weights=weights)
                for name, (backbone, weights) in NETWORKS.items()
            },
            "fusion": {
                "single frame": Setting("configs/pretrained.py:fusion=single_frame,regime=fusion"),
                "early": Setting("configs/pretrained.py:fusion=early,regime=fusion"),
                "late": Setting("configs/pretrained.py:fusion=late,regime=fusion"),
                "slow": Setting("configs/pretrained.py:fusion=slow,regime=fusion"),
            },
        },
        overrides={"evaluate.shuffled": True},
        splits=(2, 3),
        seeds=range(3),
        columns=(*INTERVAL_COLUMNS, "shuffled_top1", "frames", "all_seconds"),
    )
