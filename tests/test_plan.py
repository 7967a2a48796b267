from pathlib import Path

import pytest

from vidjax import configuration, plan
from vidjax.errors import ConfigError
from vidjax.plan import Experiment, Setting

ROOT = Path(__file__).resolve().parent.parent


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
    with pytest.raises(ConfigError, match="exactly one config"):
        plan.runs_of(experiment(axes=axes))


def test_a_common_config_holds_where_no_axis_names_one():
    axes = {"rate": {"low": Setting(overrides={"rate": 1})}}
    assert plan.runs_of(experiment(axes=axes, config="c.py"))[0].config == "c.py"


def test_equal_names_are_refused():
    axes = {"model": {"a/b": Setting("a.py"), "a b": Setting("b.py")}}
    with pytest.raises(ConfigError, match="same name"):
        plan.runs_of(experiment(axes=axes))


def test_an_unknown_column_is_refused():
    with pytest.raises(ConfigError, match="'vidio_top1'"):
        experiment(columns=("vidio_top1",)).table_columns()


def test_load_names_what_is_missing(tmp_path):
    (tmp_path / "other.py").write_text("x = 1\n")
    with pytest.raises(ConfigError, match=r"other\.py"):
        plan.load(tmp_path / "missing.py")
    with pytest.raises(ConfigError, match="get_experiment"):
        plan.load(tmp_path / "other.py")


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.py")), ids=lambda path: path.stem)
def test_every_experiment_of_the_repository_can_be_planned(path):
    found = plan.load(path)
    assert found.name == path.stem, "the README block, the file and the results folder have one name"
    found.table_columns()
    runs = plan.runs_of(found)
    for run in runs[: len(found.row_labels())]:
        config = configuration.load(run.config, run.overrides)
        assert config.seed == found.seeds[0]
