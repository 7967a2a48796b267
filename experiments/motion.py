"""Early fusion against single frame on the embedded data set, whose classes no single frame can tell.

  python launch.py --experiment=experiments/motion.py --workdir=runs/experiments/motion
  python -m vidjax collect runs/experiments/motion && python -m vidjax readme

Ten runs of about a minute each on 2 CPU cores.
"""

from vidjax.experiment.plan import Experiment, Setting


def get_experiment():
    return Experiment(
        name="motion",
        title="Motion alone: 8 classes, chance 12.5%",
        axes={
            "model": {
                "single frame": Setting("configs/single_frame.py"),
                "early fusion": Setting("configs/early_fusion.py"),
            }
        },
        seeds=range(5),
    )
