"""Karpathy's ways to fuse frames (2014) on UCF101, from scratch, at a size for 2 CPU cores.

Where only a part of UCF101 is on the disk:

  python launch.py --experiment=experiments/ucf101_fusion.py --workdir=runs/experiments/ucf101_fusion \
      --config.data.root=UCF-101 --config.data.splits=ucfTrainTestlist --config.data.allow_missing=True

Splits 2 and 3, one model each; their test videos are pooled (in splits 2 and 3 no video is tested twice). The interval
is over (class, group), since clips of one group come from one video. 30 runs of one to three minutes each. Published
numbers are the mean over all three splits of all 101 classes: do not compare those with these.
"""

from vidjax.experiment.plan import INTERVAL_COLUMNS, Experiment, Setting


def get_experiment():
    return Experiment(
        name="ucf101_fusion",
        title="UCF101 clips, from scratch at 56 pixels",
        axes={
            "model": {
                "single frame": Setting("configs/single_frame.py:ucf101_small"),
                "early fusion": Setting("configs/early_fusion.py:ucf101_small"),
                "late fusion": Setting("configs/late_fusion.py:ucf101_small"),
                "slow fusion": Setting("configs/slow_fusion.py:ucf101_small"),
                "multires, single frame": Setting("configs/multires.py:ucf101_small"),
            }
        },
        ensembles={"average of the four": ("single frame", "early fusion", "late fusion", "slow fusion")},
        overrides={"model.normalization": "batch"},
        splits=(2, 3),
        seeds=range(3),
        columns=(*INTERVAL_COLUMNS, "video_top5", "mean_class_accuracy", "seconds"),
    )
