"""Lateral connections of SlowFast (Feichtenhofer et al. 2019, section 3.3), small, on the embedded data set.

  python launch.py --experiment=experiments/slowfast.py --workdir=runs/experiments/slowfast
  python -m vidjax collect runs/experiments/slowfast && python -m vidjax readme

18 runs, which may be interrupted: the same command resumes. 20 minutes each on one core. On Kinetics-400 the
paper has 72.6% with the slow pathway alone, 73.5% without a connection, 74.5% with time to channel (sum), 75.4% with
time-strided sampling and 75.6% with the time-strided convolution.
"""

from vidjax.experiment.plan import INTERVAL_COLUMNS, Experiment, Setting


def _lateral(name):
    return Setting("configs/slowfast.py", overrides={"model.lateral": name})


def get_experiment():
    return Experiment(
        name="slowfast",
        title="Lateral connections of SlowFast (small), on motion: 8 classes, chance 12.5%",
        axes={
            "lateral connection": {
                "slow pathway alone": Setting("configs/slowfast.py:variant=slow_r18_small"),
                "none": _lateral("none"),
                "time to channel, sum": _lateral("time_to_channel_sum"),
                "time to channel, concatenation": _lateral("time_to_channel_concat"),
                "time-strided sampling": _lateral("time_strided_sample"),
                "time-strided convolution": _lateral("time_strided_conv"),
            }
        },
        seeds=range(3),
        columns=(*INTERVAL_COLUMNS, "seconds"),
    )
