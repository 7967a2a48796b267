"""3D networks and capsules, a single frame and slow fusion on UCF101, from scratch, at a size for 2 CPU cores.

Where only a part of UCF101 is on the disk:

  python launch.py --experiment=experiments/ucf101_networks_3d.py --workdir=runs/experiments/ucf101_networks_3d \
      --config.data.root=UCF-101 --config.data.splits=ucfTrainTestlist --config.data.allow_missing=True

Splits and intervals as in ucf101_fusion.py. Published numbers are the mean over all three splits of all 101 classes,
mostly of pretrained networks: do not compare those with these. 42 runs of half a minute to a quarter of an hour on one
core; the table in docs/results.md says how many were run.
"""

from vidjax.experiment.plan import INTERVAL_COLUMNS, Experiment, Setting


def get_experiment():
    return Experiment(
        name="ucf101_networks_3d",
        title="3D networks, small, on UCF101 clips, from scratch at 56 pixels",
        axes={
            "model": {
                "single frame": Setting(
                    "configs/single_frame.py:ucf101_small", overrides={"model.normalization": "batch"}
                ),
                "slow fusion": Setting(
                    "configs/slow_fusion.py:ucf101_small", overrides={"model.normalization": "batch"}
                ),
                "C3D": Setting("configs/c3d.py:ucf101_small"),
                "R3D-18": Setting("configs/resnet3d.py:ucf101_small"),
                "R(2+1)D-18": Setting("configs/resnet3d.py:ucf101_small,variant=r2plus1d_18"),
                "SlowFast-18": Setting("configs/slowfast.py:ucf101_small"),
                "capsules": Setting("configs/capsule_video.py:ucf101_small"),
            }
        },
        splits=(2, 3),
        seeds=range(3),
        columns=(*INTERVAL_COLUMNS, "mean_class_accuracy", "seconds"),
    )
