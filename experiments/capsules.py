"""CapsNet on the 10,000 test digits of MNIST: routing iterations and reconstruction (Sabour et al. 2017, table 1).

  python launch.py --experiment=experiments/capsules.py --workdir=runs/experiments/capsules --config.data.root=mnist
  python -m vidjax collect runs/experiments/capsules && python -m vidjax readme

8,000 digits to train on, 1,000 to validate, 1,000 to test, cut by a hash, 16 epochs. The paper's CapsNet takes 35 to 60
minutes on one core; its ablations have a quarter of the filters and of the capsule types and take 3 to 6, the baseline
with a quarter of its filters and units 11. 18 runs, which may be interrupted: the same command resumes. The
paper trains on all 60,000 digits: 0.34% error with one iteration, 0.29% with reconstruction; 0.35% and 0.25% with
three; its baseline 0.39%.
"""

from vidjax.experiment.plan import Experiment, Setting
from vidjax.reporting.comparison import Column, IntervalColumn, top1_interval

_QUARTER = {"model.width": 64, "model.types": 8}


def _quarter(iterations, reconstruction):
    return Setting(
        "configs/capsnet.py",
        overrides={
            **_QUARTER,
            "model.iterations": iterations,
            "model.decoder": reconstruction,
            "loss.reconstruction": 5e-4 if reconstruction else 0.0,
        },
    )


def _error(result):
    return 1 - sum(result.per_class_correct) / sum(result.per_class_videos)


def _error_interval(results):
    bounds = top1_interval(results)
    return bounds and (1 - bounds[1], 1 - bounds[0])


def get_experiment():
    return Experiment(
        name="capsules",
        title="CapsNet on 8,000 digits of MNIST, tested on 1,000",
        axes={
            "network": {
                "CapsNet, 3 iterations, reconstruction": Setting("configs/capsnet.py"),
                "quarter, 3 iterations, reconstruction": _quarter(3, True),
                "quarter, 3 iterations": _quarter(3, False),
                "quarter, 1 iteration, reconstruction": _quarter(1, True),
                "quarter, 1 iteration": _quarter(1, False),
                "quarter of the baseline": Setting(
                    "configs/capsnet.py:variant=capsnet_baseline", overrides={"model.width_multiplier": 0.25}
                ),
            }
        },
        overrides={"train.epochs": 16.0},
        seeds=range(3),
        columns=(
            "parameters",
            "gmacs",
            "videos",
            Column("error %", _error, "percent"),
            IntervalColumn("95% interval", _error_interval),
            "seconds",
        ),
    )
