"""Fusion of frames (Karpathy et al. 2014, tables 1 and 2) on the embedded data set, easy and hard.

  python launch.py --experiment=experiments/fusion.py --workdir=runs/experiments/fusion
  python -m vidjax collect runs/experiments/fusion && python -m vidjax readme

72 runs of one to three minutes each on 2 CPU cores, which may be interrupted: the same command resumes, and
--only='hard-*-seed0' takes a part of them. "average of the four" averages the scores of single frame, early, late
and slow, as in the last row of the paper's table 1.
"""

from vidjax.experiment.plan import INTERVAL_COLUMNS, Experiment, Setting

_FOUR = ("single frame", "early fusion", "late fusion", "slow fusion")


def get_experiment():
    return Experiment(
        name="fusion",
        title="Ways to join frames, on motion easy and hard: 8 classes, chance 12.5%",
        axes={
            "level": {"easy": Setting(), "hard": Setting(argument="motion_hard")},
            "model": {
                "single frame": Setting("configs/single_frame.py"),
                "early fusion": Setting("configs/early_fusion.py"),
                "late fusion": Setting("configs/late_fusion.py"),
                "slow fusion": Setting("configs/slow_fusion.py"),
                "multires, single frame": Setting("configs/multires.py"),
                "multires, early fusion": Setting("configs/multires.py:base=early_fusion"),
            },
            "normalization": {
                "LRN": Setting(overrides={"model.normalization": "lrn"}),
                "BatchNorm": Setting(overrides={"model.normalization": "batch"}),
            },
        },
        ensembles={"average of the four": _FOUR},
        seeds=range(3),
        columns=(*INTERVAL_COLUMNS, "video_top5", "seconds"),
    )
