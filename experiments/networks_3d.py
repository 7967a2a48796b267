"""3D networks and capsules, a single frame and slow fusion, small, on the embedded data set.

  python launch.py --experiment=experiments/networks_3d.py --workdir=runs/experiments/networks_3d
  python -m vidjax collect runs/experiments/networks_3d && python -m vidjax readme

21 runs, which may be interrupted: the same command resumes, and --only='*-seed0' takes a part of them. On one
core a minute (single frame) to twenty minutes (SlowFast) each.
"""

from vidjax.experiment.plan import INTERVAL_COLUMNS, Experiment, Setting


def get_experiment():
    return Experiment(
        name="networks_3d",
        title="3D networks, small, on motion: 8 classes, chance 12.5%",
        axes={
            "model": {
                "single frame": Setting("configs/single_frame.py", overrides={"model.normalization": "batch"}),
                "slow fusion": Setting("configs/slow_fusion.py", overrides={"model.normalization": "batch"}),
                "C3D": Setting("configs/c3d.py"),
                "R3D-18": Setting("configs/resnet3d.py"),
                "R(2+1)D-18": Setting("configs/resnet3d.py:variant=r2plus1d_18"),
                "SlowFast-18": Setting("configs/slowfast.py"),
                "capsules": Setting("configs/capsule_video.py"),
            }
        },
        seeds=range(3),
        columns=(*INTERVAL_COLUMNS, "seconds"),
    )
