"""Proof that `motion` measures motion: networks that see one frame must stay at chance, whichever frame it is.

  python launch.py --experiment=experiments/motion_instrument.py --workdir=runs/experiments/motion_instrument

Twelve runs of about a minute each on 2 CPU cores. The column "at chance" counts the seeds whose number of correct
test videos lies inside the central 95% of the binomial distribution of guessing; of twelve such counts one
lies outside in nearly half of all experiments even where nothing leaks, so that a single one outside proves nothing.
"""

from scipy.stats import binom

from vidjax.experiment.plan import Experiment, Setting
from vidjax.reporting.comparison import Column

_ONE_VIEW = {"evaluate.clips": 1, "evaluate.validation_clips": 1}  # the position is fixed: views would be equal


def chance_interval(result):
    """Smallest and largest number of correct videos inside the central 95% of guessing."""
    classes, videos = len(result.per_class_videos), sum(result.per_class_videos)
    low, high = binom.interval(0.95, videos, 1 / classes)
    return int(low), int(high)


def at_chance(result):
    low, high = chance_interval(result)
    return low <= sum(result.per_class_correct) <= high


def interval_text(result):
    low, high = chance_interval(result)
    videos = sum(result.per_class_videos)
    return f"{100 * low / videos:.1f} to {100 * high / videos:.1f}"


def get_experiment():
    frames = {name: Setting(overrides={"data.position": name, **_ONE_VIEW}) for name in ("first", "middle", "last")}
    return Experiment(
        name="motion_instrument",
        title="Single-frame networks on motion stay at chance (8 classes, 12.5%)",
        config="configs/single_frame.py",
        axes={"frame": {**frames, "random": Setting(overrides={"data.position": "random"})}},
        seeds=range(3),
        columns=(
            "inputs",
            "views",
            "videos",
            "video_top1",
            Column("95% of guessing, %", interval_text),
            Column("at chance", at_chance, "flag"),
        ),
    )
