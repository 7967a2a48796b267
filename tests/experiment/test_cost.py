"""What an experiment is going to cost is said before it begins."""

from tests.toy import ROOT
from vidjax import models
from vidjax.experiment import cost
from vidjax.experiment.plan import PlannedRun

NARROW = {"model.width_multiplier": 0.05, "train.batch_size": 4}


def test_steps_times_clips_times_passes():
    config = f"{ROOT}/configs/early_fusion.py"
    runs = [PlannedRun(str(n), config, {**NARROW, "train.steps": steps}) for n, steps in enumerate((5, 7))]
    options = {"normalization": "batch", "width_multiplier": 0.05}
    macs = models.summary(models.create("early_fusion", 10, **options), rgb=(1, 10, 48, 48, 3)).macs
    assert cost.describe(runs) == f"12 training steps, {12 * 4 * 3 * macs:.1e} multiply-accumulates"


def test_what_has_no_length_in_steps_is_counted_apart():
    run = PlannedRun("epochs", f"{ROOT}/configs/early_fusion.py:folder", {**NARROW, "data.root": "x"})
    assert cost.describe([run]).startswith("1 run ")
