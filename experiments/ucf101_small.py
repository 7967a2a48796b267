"""Early fusion and single frame on UCF101 at a size that 2 CPU cores can bear.

Where only a part of UCF101 is on the disk:

  python launch.py --experiment=experiments/ucf101_small.py --workdir=runs/experiments/ucf101_small \
      --config.data.root=UCF-101 --config.data.splits=ucfTrainTestlist --config.data.allow_missing=True

Splits 2 and 3, one model each; their test videos are pooled (in splits 2 and 3 no video is tested twice).
Published numbers are the mean over all three splits of all 101 classes: do not compare those with these.
"""

from vidjax.plan import Experiment, Setting


def get_experiment():
    return Experiment(
        name="ucf101_small",
        title="UCF101 clips, from scratch at 56 pixels",
        axes={
            "model": {
                "single frame": Setting("configs/single_frame.py:ucf101_small"),
                "early fusion": Setting("configs/early_fusion.py:ucf101_small"),
            }
        },
        splits=(2, 3),
        seeds=range(3),
    )
