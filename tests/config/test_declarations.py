"""The keys of a config: those of its sections, and those that come with what it chooses."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.refusals import refused
from vidjax.config import building, data, declarations, flat, identity, loading, recipe, sections
from vidjax.config.stored import load_stored
from vidjax.config.validation import check_config
from vidjax.data import clips, resizing, sampling, views
from vidjax.data.flow import methods
from vidjax.errors import ConfigError, UnknownKeyError
from vidjax.evaluation.scores import AVERAGES
from vidjax.training import early_stopping, parallel, weights

ROOT = Path(__file__).resolve().parents[2]
EARLY = "configs/early_fusion.py"


def test_words_of_sections_are_those_that_there_are():
    """Sections import no JAX, so that they have words of their own."""
    known = {
        "parallel": ("auto", *parallel.PARALLEL_STRATEGIES),
        "data.flow": tuple(methods.METHODS),
        "data.sampling": sampling.SAMPLINGS,
        "data.position": sampling.POSITIONS,
        "data.resize": resizing.RULES,
        "data.crop_position": clips.CROP_POSITIONS,
        "data.cache": tuple(building.CACHES),
        "evaluate.crops": tuple(views.CROPS),
        "evaluate.average": tuple(AVERAGES),
        "evaluate.weights": weights.WEIGHTS,
        "optimizer.scale_with_batch": tuple(recipe.BATCH_SCALINGS),
        "train.monitor": tuple(early_stopping.METRICS),
    }
    keys = declarations.keys_of(loading.load(EARLY))
    assert {key: keys[key].option.choices for key in known} == known


@pytest.mark.parametrize("section", declarations.NAMED_SECTIONS)
def test_help_names_what_can_be_chosen(section):
    """All of it, or the first of it in the order of the table."""
    told = re.sub(r" \([^)]*\)", "", sections.KEYS[section]["name"].option.help).split(" | ")
    names = list(declarations.table(section))
    assert told == names or (told[-1].startswith("... docs/") and told[:-1] == names[: len(told) - 1])


def test_every_key_has_its_line_of_help():
    for section in sections.KEYS:
        others = (
            [key for takers in declarations.all_options(section).values() for key in takers.values()]
            if (section in declarations.NAMED_SECTIONS)
            else []
        )
        for key in [*sections.KEYS[section].values(), *others]:
            assert key.option.help and "\n" not in key.option.help, (section, key)


def test_defaults_are_allowed():
    for section in sections.KEYS:
        takers = declarations.all_options(section).values() if section in declarations.NAMED_SECTIONS else ()
        for key in [*sections.KEYS[section].values(), *(key for each in takers for key in each.values())]:
            if key.default is not None:
                key.option.check(key.name, key.default)
                assert key.cast(key.default) == key.default


def test_options_are_declared_where_one_is_typed_and_where_a_run_begins():
    config = loading.load(EARLY)
    assert "width_multiplier" in config.model and "streams" not in config.model
    typed = loading.load(EARLY, {"model.dropout": "0.1"})
    assert typed.model.dropout == 0.1 and typed.model.streams is None and "b1" not in typed.optimizer
    declarations.declare_all(config)
    assert config.model.streams is None and config.optimizer.b1 is None and "momentum" not in config.optimizer
    assert {"warmup_steps", "warmup_epochs", "warmup_fraction"} <= set(config.schedule)
    assert config.data.train_clips is None and config.is_locked


def test_numbers_of_a_file_count_as_the_type_of_the_option(tmp_path):
    """Or the hash of a config would depend on whether its options are declared yet."""
    from vidjax.config import identity

    def config(number):
        path = tmp_path / f"of_{number}.py"
        path.write_text(
            "from vidjax.config import presets\n\ndef get_config(argument=''):\n    config = presets.get_config()\n"
            f"    config.model.dropout = {number}\n    config.preprocessing.mean = {number}\n    return config\n"
        )
        return loading.load(str(path))

    whole, broken = config("0"), config("0.0")
    assert repr(whole.preprocessing.mean) == repr(whole.model.dropout) == "0.0"
    assert identity.config_hash(whole) == identity.config_hash(broken)
    before = identity.config_hash(broken)
    declarations.declare_all(broken)
    assert identity.config_hash(broken) == before


def test_mean_and_std_may_be_one_for_each_channel():
    config = loading.load(EARLY, {"preprocessing.mean": "(123.7,116.3,103.5)", "preprocessing.std": "58"})
    assert config.preprocessing.mean == (123.7, 116.3, 103.5) and repr(config.preprocessing.std) == "58.0"
    assert data.clip(config).padding == (124, 116, 104)
    stored = {"preprocessing": {"mean": [1, 2.0, 3.0], "std": 2}}
    assert load_stored(stored).preprocessing.mean == (1.0, 2.0, 3.0)
    with refused(ConfigError, "--config.preprocessing.mean=red", "'red'", "float"):
        loading.load(EARLY, {"preprocessing.mean": "red"})


def _file(folder, name, *lines):
    path = folder / f"{name}.py"
    body = "\n    ".join(["config = presets.get_config()", *lines, "return config"])
    path.write_text(f"from vidjax.config import presets\n\n\ndef get_config(argument=''):\n    {body}\n")
    return str(path)


@pytest.mark.parametrize(
    "line, tokens",
    [
        ("config.train.stesp = 3", ("'train.stesp'", "'train.steps'")),
        ("config.rate = 3", ("'rate'", "optimizer.*")),
        (
            "config.model.alpha = 8",
            ("'early_fusion'", "'alpha'", "slowfast_r50_4x16", "2"),
        ),
        (
            "config.optimizer.momentum = 0.9",
            ("'adamw'", "'momentum'", "momentum", "4"),
        ),
        ("config.optimizer.b1 = 'much'", ("optimizer.b1", "'much'", "float")),
        ("config.preprocessing.mean = 'red'", ("preprocessing.mean", "'red'", "float", "tuple")),
    ],
)
def test_what_a_file_sets_and_nothing_takes_is_an_error_by_name(tmp_path, line, tokens):
    with refused(ConfigError, *tokens):
        declarations.declare_all(loading.load(_file(tmp_path, "mine", line)))


MODEL = """
from typing import Literal

import flax.linen as nn

def build(num_classes, *, hidden=32, dropout: float = 0.0, axis_name=None):
    return None

class Net(nn.Module):
    num_classes: int = 10
    hidden: int = 32
    kind: Literal["plain", "gated"] = "plain"

class Narrow(nn.Module):
    num_classes: int = 10

def passes_on(num_classes, **options):
    return Net(num_classes, **options)

def noarg():
    return None

def two(num_classes, width, *, hidden=3):
    return None

def needy(num_classes, *, hidden: int):
    return None

def any_options(num_classes, **options):
    return None

def clips(*, root, frames=3, level=1):
    return None

def clashing(*, crop):
    return None
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with code of one's own, as the working directory; returns its module's name."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    monkeypatch.chdir(tmp_path)
    name = f"own_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODEL)
    return name


def test_a_model_of_ones_own_has_its_options_and_none_of_the_preset_that_it_does_not_take(own, tmp_path):
    for typed, path in (
        ({"model.factory": f"{own}:build"}, f"{ROOT}/{EARLY}"),
        ({}, _file(tmp_path, "mine", f"config.model.factory = '{own}:build'")),
    ):
        config = loading.load(path, {**typed, "model.hidden": "64"})
        assert config.model.to_dict() == {
            "name": "early_fusion",
            "factory": f"{own}:build",
            "hidden": 64,
            "dropout": 0.2,
        }
        with refused(UnknownKeyError, "'model.hiden'", "'model.hidden'"):
            loading.load(path, {**typed, "model.hiden": "64"})

        with refused(UnknownKeyError, f"'{own}:build'", "'streams'", "hidden, dropout"):
            loading.load(path, {**typed, "model.streams": "full"})


@pytest.mark.parametrize(
    "line, tokens",
    [
        ("config.model.hidden = 64.0", ("model.hidden", "64.0", "int")),
        ("config.model.hiden = 7", ("'hiden'", "'hidden'")),
        ("config.model.kind = 'gatd'", ("model.kind='gatd'", "plain, gated", "'gated'")),
    ],
)
def test_what_a_file_sets_for_its_factory_is_kept_or_refused(own, tmp_path, line, tokens):
    with refused(ConfigError, *tokens):
        check_config(loading.load(_file(tmp_path, "mine", f"config.model.factory = '{own}:Net'", line)))


def test_a_typed_value_displaces_one_of_a_wrong_type(own, tmp_path):
    path = _file(tmp_path, "mine", f"config.model.factory = '{own}:Net'", "config.model.hidden = 64.0")
    assert loading.load(path, {"model.hidden": "8"}).model.hidden == 8


def test_the_number_of_classes_is_no_option(own):
    for name in ("Net", "Narrow"):
        config = loading.load(f"{ROOT}/{EARLY}", {"model.factory": f"{own}:{name}"})
        assert "num_classes" not in config.model
        assert building.model(config, 7).num_classes == 7
    for name in ("Narrow", "any_options"):
        with refused(UnknownKeyError, "'model.num_classes'", "data.name"):
            loading.load(f"{ROOT}/{EARLY}", {"model.factory": f"{own}:{name}", "model.num_classes": 7})


def test_a_factory_that_takes_any_option_is_not_given_those_of_the_preset(own, tmp_path):
    factory = f"{own}:passes_on"
    for path, typed in (
        (f"{ROOT}/{EARLY}", {"model.factory": factory}),
        (_file(tmp_path, "mine", f"config.model.factory = '{factory}'", "config.model.kind = 'plain'"), {}),
    ):
        config = loading.load(path, {**typed, "model.hidden": "8"})
        assert building.model(config, 7).hidden == 8
    assert config.model.kind == "plain", "which no preset knows"


def test_an_evaluation_keeps_what_a_factory_that_takes_any_option_was_given(own):
    factory = {"model.factory": f"{own}:any_options"}
    stored = json.loads(flat.to_json(loading.load(f"{ROOT}/{EARLY}", {**factory, "model.dropout": "0.1"})))
    assert load_stored(stored, factory).model.dropout == 0.1


@pytest.mark.parametrize("name", ["noarg", "two", "not_there"])
def test_a_factory_that_cannot_be_called_is_one_line_in_training_and_evaluation(own, name):
    factory = {"model.factory": f"{own}:{name}"}
    with refused(ConfigError, "model", f"'{own}:{name}'") as caught:
        check_config(loading.load(f"{ROOT}/{EARLY}", factory))
    with refused(ConfigError, "model", f"'{own}:{name}'") as again:
        check_config(load_stored({"model": {"factory": f"{own}:{name}"}}, factory))
    assert str(again.value) == str(caught.value)


def test_a_source_that_cannot_be_called_is_one_line(own):
    config = loading.load(f"{ROOT}/{EARLY}", {"data.factory": f"{own}:two"})
    with refused(ConfigError, f"'{own}:two'", "'num_classes'"):
        data.check_source_options(config)


@pytest.mark.parametrize("section, name", [("model", "i3d"), ("data", "motion")])
def test_a_typed_name_takes_the_place_of_a_factory(own, tmp_path, section, name):
    factory = {"model": "build", "data": "any_options"}[section]
    path = _file(tmp_path, "mine", f"config.{section}.factory = '{own}:{factory}'", f"config.{section}.hidden = 3")
    part = loading.load(path, {f"{section}.name": name})[section]
    assert (part.name, part.factory) == (name, None) and "hidden" not in part
    typed = {f"{section}.name": name, f"{section}.factory": f"{own}:{factory}"}
    assert loading.load(path, typed)[section].factory == f"{own}:{factory}"


def test_groups_of_batch_normalization_give_way_to_a_model_without_them(own):
    path, key = f"{ROOT}/configs/slowfast.py:kinetics", "batch_norm.group_size"
    for typed in ({"model.factory": f"{own}:Net"}, {"model.name": "early_fusion"}):
        config = loading.load(path, typed)
        assert config.batch_norm.group_size is None and building.model(config, 7)
        config = loading.load(path, {**typed, key: "4"})
        with refused(ConfigError, "batch_norm.group_size", "None"):
            building.model(config, 7)
    assert loading.load(path, {"model.name": "slow_r50"}).batch_norm.group_size == 8


def test_a_model_without_a_dtype_names_the_key(own):
    config = loading.load(f"{ROOT}/{EARLY}", {"model.factory": f"{own}:Net", "dtype": "bfloat16"})
    with refused(ConfigError, "dtype=bfloat16", f"'{own}:Net'", "float32"):
        building.model(config, 7)


def test_a_dict_is_no_value(own):
    typed = {"model.factory": f"{own}:any_options", "model.extra": "{'a': 1}"}
    with refused(ConfigError, "--config.model.extra={'a': 1}"):
        loading.load(f"{ROOT}/{EARLY}", typed)


@pytest.mark.parametrize(
    "overrides, tokens",
    [
        ({"schedule.warmup_steps": -1}, ("schedule.warmup_steps=-1", "0")),
        ({"schedule.warmup_epochs": -0.5}, ("schedule.warmup_epochs=-0.5", "0")),
        ({"schedule.name": "step", "schedule.decay_every_steps": 0}, ("schedule.decay_every_steps=0", "1")),
        (
            {"schedule.name": "step", "schedule.decay_every_epochs": 0},
            ("schedule.decay_every_epochs=0.0", "0"),
        ),
        (
            {"schedule.name": "step", "schedule.decay_every_fraction": 1e-9},
            ("schedule.decay_every_*", "0", "1"),
        ),
        ({"loss.name": "spread", "loss.margin_steps": -1}, ("loss.margin_steps=-1", "0")),
        ({"data.threads": -1}, ("data.threads=-1", "0")),
        ({"data.workers": -1}, ("data.workers=-1", "0")),
        ({"data.short_side": 0}, ("data.short_side=0", "1")),
        ({"data.short_side_max": 0}, ("data.short_side_max=0", "1")),
        ({"data.size": 0}, ("data.size=0", "1")),
        ({"data.train_clips": 0}, ("data.train_clips=0", "1")),
        ({"data.validation_clips": 0}, ("data.validation_clips=0", "1")),
        ({"data.test_clips": -8}, ("data.test_clips=-8", "1")),
        ({"data.seed": -1}, ("data.seed=-1", "0")),
        ({"data.name": "ucf101", "data.split": 4}, ("data.split=4", "1", "3")),
        ({"data.name": "hmdb51", "data.split": 0}, ("data.split=0", "1", "3")),
        ({"data.name": "kinetics", "data.validation": 0}, ("data.validation=0.0", "0", "1")),
        ({"data.name": "mnist", "data.test": 1}, ("data.test=1.0", "0", "1")),
        ({"data.name": "folder", "data.test": -0.1}, ("data.test=-0.1", "0", "1")),
        ({"seed": 2**63}, (f"seed={2**63}", "-9223372036854775808", "9223372036854775808")),
    ],
)
def test_ranges_are_seen_before_any_data(overrides, tokens):
    needed = {"data.root": "nowhere", "data.splits": "nowhere", "data.annotations": "nowhere"}
    taken = {"ucf101": ("root", "splits"), "hmdb51": ("root", "splits"), "kinetics": ("root", "annotations")}
    keys = [f"data.{key}" for key in taken.get(overrides.get("data.name"), ("root",))]
    with refused(ConfigError, *tokens):
        check_config(loading.load(EARLY, {**{key: needed[key] for key in keys}, **overrides}))


@pytest.mark.parametrize("seed", [-1, 2**32, 2**63 - 1])
def test_seeds_are_those_that_jax_takes(seed):
    import jax

    declarations.check_values(loading.load(EARLY, {"seed": seed}))
    jax.random.key(seed)


def test_a_model_that_needs_an_option_says_so(own):
    config = loading.load(f"{ROOT}/{EARLY}", {"model.factory": f"{own}:needy"})
    with refused(ConfigError, f"'{own}:needy'", "--config.model.hidden="):
        declarations.check_values(config)


def test_a_factory_that_takes_any_option_is_given_what_is_typed(own):
    typed = {"model.factory": f"{own}:any_options", "model.heads": "4", "model.kind": "wide", "model.sides": "[1, 2]"}
    config = loading.load(f"{ROOT}/{EARLY}", typed)
    assert (config.model.heads, config.model.kind, config.model.sides) == (4, "wide", (1, 2))
    with refused(UnknownKeyError, "'train.heads'", "batch_size, early_stopping_patience"):
        loading.load(f"{ROOT}/{EARLY}", {**typed, "train.heads": "4"})


def test_a_source_of_ones_own_has_its_options(own):
    config = loading.load(f"{ROOT}/{EARLY}", {"data.factory": f"{own}:clips", "data.level": "2"})
    assert config.data.level == 2 and config.data.root is None and config.data.frames == 10
    with refused(ConfigError, f"'{own}:clips'", "--config.data.root="):
        data.check_source_options(config)
    with refused(ConfigError, "'crop'", "config.data"):
        loading.load(f"{ROOT}/{EARLY}", {"data.factory": f"{own}:clashing"})


def test_configs_and_verbs_that_need_no_model_import_neither_jax_nor_flax(tmp_path):
    program = """
import sys
from vidjax import cli
from vidjax.config import loading
loading.load("configs/early_fusion.py:motion_hard", {"train.steps": 5, "data.seed": 1, "name": "x"})
clips = [f"--config.data.{part}_clips=8" for part in ("train", "validation", "test")]
assert cli.main(["pack", sys.argv[1], "--config=configs/early_fusion.py", *clips]) == 0
assert cli.main(["baselines", "--config=configs/early_fusion.py", *clips]) == 0
assert cli.main(["collect", "--check", "experiments/motion.py"]) == 0
assert not {"jax", "flax"} & sys.modules.keys()
"""
    command = [sys.executable, "-c", program, str(tmp_path / "packed")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_sections_are_dataclasses_whose_fields_are_all_keys():
    for section, kind in sections.KINDS.items():
        assert [field.name for field in dataclasses.fields(kind)] == list(sections.KEYS[section])


LOSS = """
from typing import Annotated

import jax.numpy as jnp

from vidjax.options import Option


def hinge(output, label, *, step, gap: Annotated[float, Option("wanted", at_least=0)] = 1.0, growth_steps: int = 0):
    at_label = jnp.take_along_axis(output.logits.mean(axis=1), label[:, None], axis=1)[:, 0]
    return jnp.maximum(0.0, gap * jnp.minimum(1.0, step / max(1, growth_steps)) - at_label)


def no_label(output, *, gap=1.0):
    return output
"""


@pytest.fixture
def own_loss(own, tmp_path):
    (tmp_path / f"{own}_loss.py").write_text(LOSS)
    return f"{own}_loss"


def test_a_loss_of_ones_own_has_its_options_and_is_given_the_step(own_loss):
    import jax.numpy as jnp

    from vidjax.models import Output
    from vidjax.training import losses

    typed = {"loss.factory": f"{own_loss}:hinge", "loss.gap": "2.0", "loss.growth_fraction": "0.5"}
    config = loading.load(f"{ROOT}/{EARLY}", typed)
    assert config.loss.gap == 2.0 and "step" not in config.loss and "label_smoothing" not in config.loss
    check_config(config)
    loss = building.loss(config.loss, total_steps=8, steps_per_epoch=1.0)
    output = Output(jnp.zeros((2, 1, 3)))
    assert losses.bind_step(loss, jnp.asarray(2))(output, jnp.array([0, 1])).tolist() == [1.0, 1.0]
    with refused(ConfigError, "loss.gap=-1.0", 0):
        check_config(loading.load(f"{ROOT}/{EARLY}", {**typed, "loss.gap": "-1"}))
    with refused(UnknownKeyError, "loss.gapp", "loss.gap"):
        loading.load(f"{ROOT}/{EARLY}", {**typed, "loss.gapp": "1"})
    named = loading.load(f"{ROOT}/{EARLY}", {"loss.name": "cross_entropy"})
    assert identity.config_hash(named) == identity.config_hash(loading.load(f"{ROOT}/{EARLY}"))


def test_a_loss_that_cannot_be_called_is_one_line(own_loss):
    config = loading.load(f"{ROOT}/{EARLY}", {"loss.factory": f"{own_loss}:no_label"})
    with refused(ConfigError, "no_label", 2):
        check_config(config)


def test_a_stored_loss_of_ones_own_is_not_imported_before_it_is_typed_again(own_loss):
    factory = {"loss.factory": f"{own_loss}:hinge"}
    stored = json.loads(flat.to_json(loading.load(f"{ROOT}/{EARLY}", {**factory, "loss.gap": "2.0"})))
    with refused(ConfigError, f"--config.loss.factory={own_loss}:hinge"):
        load_stored(stored, {})
    assert load_stored(stored, factory).loss.gap == 2.0
