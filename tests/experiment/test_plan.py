from pathlib import Path

import pytest

from tests.refusals import refused
from tests.reporting import run_directory
from vidjax.config import loading
from vidjax.errors import ConfigError
from vidjax.experiment import plan
from vidjax.experiment.plan import Experiment, Setting
from vidjax.reporting.comparison import MISSING

ROOT = Path(__file__).resolve().parents[2]


def experiment(**changes):
    options = dict(
        name="e",
        title="E",
        axes={
            "model": {"early fusion": Setting("a.py"), "single/frame": Setting("b.py:small", {"rate": 2})},
            "rate": {"low": Setting(overrides={"rate": 0.1}), "high": Setting(overrides={"rate": 1.0})},
        },
        overrides={"rate": 9, "common": "x"},
        seeds=(0, 1),
        splits=(2, 3),
    )
    return Experiment(**{**options, **changes})


def test_runs_are_the_product_of_axes_splits_and_seeds():
    runs = plan.runs_of(experiment())
    assert len(runs) == 2 * 2 * 2 * 2
    assert runs[0].name == "early_fusion-low-split2-seed0"
    assert [run.name for run in runs[:5]][-1] == "early_fusion-low-split3-seed0", "all rows of a split come first"
    assert {run.name for run in runs} == plan.run_names(experiment())


def test_later_overrides_win():
    by_name = {run.name: run for run in plan.runs_of(experiment(), {"common": "y", "seed": 7})}
    run = by_name["single_frame-low-split3-seed1"]
    assert run.config == "b.py:small"
    assert run.overrides == {"rate": 0.1, "common": "y", "seed": 7, "data.split": 3}
    assert run.arguments()[0] == "--config=b.py:small"
    assert "--config.data.split=3" in run.arguments()


def test_later_overrides_win_under_a_first_name_too():
    axes = {"average": {"slow": Setting("configs/a.py", overrides={"train.ema_decay": 0.999})}}
    planned = plan.runs_of(experiment(axes=axes, overrides={}), {"train.ema": "0.9"})
    assert {run.overrides["train.ema_decay"] for run in planned} == {"0.9"}
    assert not any("train.ema" in run.overrides for run in planned)


def test_without_splits_the_config_decides():
    run = plan.runs_of(experiment(splits=None))[0]
    assert run.name == "early_fusion-low-seed0"
    assert "data.split" not in run.overrides


@pytest.mark.parametrize(
    "axes",
    [
        {"rate": {"low": Setting(overrides={"rate": 1})}},
        {"model": {"a": Setting("a.py")}, "again": {"b": Setting("b.py")}},
    ],
)
def test_a_row_names_exactly_one_config(axes):
    with refused(ConfigError, "'e'", "config"):
        plan.runs_of(experiment(axes=axes))


def test_a_common_config_holds_where_no_axis_names_one():
    axes = {"rate": {"low": Setting(overrides={"rate": 1})}}
    assert plan.runs_of(experiment(axes=axes, config="c.py"))[0].config == "c.py"


def test_an_axis_adds_to_the_argument_that_another_names():
    axes = {
        "level": {"easy": Setting(), "hard": Setting(argument="motion_hard")},
        "model": {"plain": Setting("a.py"), "on early": Setting("b.py:base=early_fusion")},
        "frames": {"5": Setting(argument="frames=5")},
    }
    runs = {run.name: run.config for run in plan.runs_of(experiment(axes=axes, seeds=(0,), splits=None))}
    assert runs == {
        "easy-plain-5-seed0": "a.py:frames=5",
        "easy-on_early-5-seed0": "b.py:base=early_fusion,frames=5",
        "hard-plain-5-seed0": "a.py:motion_hard,frames=5",
        "hard-on_early-5-seed0": "b.py:base=early_fusion,motion_hard,frames=5",
    }


def test_an_ensemble_is_one_more_label_of_its_axis_and_is_not_trained():
    found = experiment(ensembles={"average": ("early fusion", "single/frame")})
    assert [row["model"] for row in found.row_labels()] == [
        *("early fusion", "early fusion", "single/frame", "single/frame"),
        *("average", "average"),
    ]
    assert plan.runs_of(found) == plan.runs_of(experiment())
    averaged = plan.ensembles_of(found)
    assert len(averaged) == 2 * 2 * 2  # rates, splits, seeds
    assert averaged["average-high-split3-seed1"] == [
        "early_fusion-high-split3-seed1",
        "single_frame-high-split3-seed1",
    ]
    assert plan.run_names(found) == {run.name for run in plan.runs_of(found)} | averaged.keys()


def test_the_row_of_an_ensemble_pools_its_splits_like_any_other():
    found = experiment(ensembles={"average": ("early fusion", "single/frame")}, seeds=(0,))
    result = run_directory.result(run_directory.predictions(["a", "b"], 8))
    rows = plan.comparison_rows(found, dict.fromkeys(plan.run_names(found), result))
    assert [row.labels["model"] for row in rows][-1] == "average"
    assert rows[-1].results[0].videos == 16


def test_an_empty_row_names_only_the_weights_that_are_to_be_fetched():
    rates = {"low": Setting(weights="vgg19-imagenet"), "high": Setting(weights="i3d-kinetics400")}
    found = experiment(axes={"rate": rates})
    low, high = plan.comparison_rows(found, {}, weights_here={"i3d-kinetics400"})
    assert "vgg19-imagenet" in low.missing
    assert high.missing == MISSING


def test_two_ensembles_are_not_crossed():
    both = {"average": ("early fusion", "single/frame"), "of rates": ("low", "high")}
    rows = [tuple(row.values()) for row in experiment(ensembles=both).row_labels()]
    assert ("average", "low") in rows
    assert ("single/frame", "of rates") in rows
    assert ("average", "of rates") not in rows


@pytest.mark.parametrize("labels", [("early fusion", "low"), ("early fusion", "late"), ("early fusion",), ()])
def test_an_ensemble_names_labels_of_one_axis(labels):
    with refused(ConfigError, "'e'", "'average'"):
        plan.runs_of(experiment(ensembles={"average": labels}))


def test_an_ensemble_may_not_have_the_name_of_a_run():
    with refused(ConfigError, "'e'", "'early_fusion-low-split2-seed0'"):
        plan.runs_of(experiment(ensembles={"early/fusion": ("early fusion", "single/frame")}))


def test_equal_names_are_refused():
    axes = {"model": {"a/b": Setting("a.py"), "a b": Setting("b.py")}}
    with refused(ConfigError, "'e'", "'a_b-split2-seed0'"):
        plan.runs_of(experiment(axes=axes))


def test_an_unknown_column_is_refused():
    with refused(ConfigError, "'vidio_top1'", "video_top1"):
        experiment(columns=("vidio_top1",)).table_columns()


def test_load_names_what_is_missing(tmp_path):
    (tmp_path / "other.py").write_text("x = 1\n")
    with refused(ConfigError, "missing.py", "other.py"):
        plan.load(tmp_path / "missing.py")
    with refused(ConfigError, "other.py", "get_experiment()"):
        plan.load(tmp_path / "other.py")


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.py")), ids=lambda path: path.stem)
def test_every_experiment_of_the_repository_can_be_planned(path):
    found = plan.load(path)
    assert found.name == path.stem, "the README block, the file and the results folder have one name"
    found.table_columns()
    runs = plan.runs_of(found)
    for run in runs[: len(found.run_labels())]:
        config = loading.load(run.config, run.overrides)
        assert config.seed == found.seeds[0]
