import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from ml_collections import ConfigDict

from tests.refusals import refused
from vidjax.config import building, declarations, help, overrides, presets, recipe, stored
from vidjax.config.arguments import parse_argument
from vidjax.config.data import source
from vidjax.config.loading import load
from vidjax.errors import ConfigError, DataError, UnknownKeyError
from vidjax.layers.convolution import native_operations
from vidjax.models import create
from vidjax.training.durations import to_steps
from vidjax.training.loop import LoopSchedule

EARLY = "configs/early_fusion.py"


def test_argument_grammar():
    plain, given = (parse_argument(text, ("motion", "folder"), frames=10) for text in ("", "folder,frames=5"))
    assert vars(plain) == {"preset": "motion", "frames": 10, "changed": ()}
    assert vars(given) == {"preset": "folder", "frames": 5, "changed": ("frames",)}
    assert parse_argument("flag=true", ("motion",), flag=False).flag is True


@pytest.mark.parametrize(
    "argument, tokens",
    [
        ("foldr", ("'folder'", "motion, folder")),
        ("frame=3", ("'frame'", "'frames'", "variant=...")),
        ("frames=many", ("'many'", "int")),
        ("variant=i3d", ("'i3d'", "c3d, c3d_small")),
        ("c3d_small", ("'c3d_small'", "variant=c3d_small")),
        ("variant=c3d_smal", ("'c3d_smal'", "'c3d_small'")),
    ],
)
def test_argument_errors(argument, tokens):
    with refused(ConfigError, argument, *tokens):
        parse_argument(argument, ("motion", "folder"), frames=10, variant=("", "c3d", "c3d_small"))


@pytest.mark.parametrize("preset", ["motion", "motion_hard", "ucf101", "ucf101_small", "folder"])
@pytest.mark.parametrize("system", ["early_fusion", "single_frame", "late_fusion", "slow_fusion", "multires"])
def test_every_preset_loads_and_names_its_own_directory(system, preset):
    config = load(f"configs/{system}.py:{preset}")
    assert config.model.name == system
    assert config.name == (system if preset == "motion" else f"{system}-{preset}")
    assert (config.train.steps is None) != (config.train.epochs is None)


@pytest.mark.parametrize("system", ["early_fusion", "multires", "c3d", "slowfast", "i3d", "capsule_video"])
@pytest.mark.parametrize("videos, least, most", [(62, 40, 100), (3500, 2000, 5000)])
def test_a_folder_is_trained_as_long_as_it_is_large_and_validated_meanwhile(system, videos, least, most):
    train = load(f"configs/{system}.py:folder").train
    steps = to_steps(train, "", path="train", steps_per_epoch=videos / 32)
    assert least < steps < most
    schedule = LoopSchedule.of(train, steps, save_every=100, has_validation=True)
    validations = sum(schedule.should_validate(step) for step in range(1, steps + 1))
    assert 9 <= validations <= 11 and steps / train.log_every > 4, "enough to see whether it overfits"
    assert load(f"configs/{system}.py:folder", {"train.steps": 100}).train.epochs is None, "steps may be given instead"


def test_steps_between_validations_displace_their_share_of_the_run():
    train = load("configs/early_fusion.py:folder", {"train.validate_every": 7}).train
    assert (train.validate_every, train.validate_every_fraction) == (7, None)


VIDEO_NETWORKS = (
    "c3d",
    "resnet3d",
    "resnet3d:variant=r2plus1d_18",
    "i3d",
    "slowfast",
    "slowfast:variant=slow_r50",
    "slowfast:variant=slow_r18_small",
    "capsule_video",
    "cnn_lstm",
    "cnn_lstm:cell=max",
)


@pytest.mark.parametrize("preset", ["motion", "ucf101_small", "ucf101", "kinetics"])
@pytest.mark.parametrize("system", VIDEO_NETWORKS)
def test_every_preset_of_a_video_network_makes_a_run(system, preset):
    """Its schedule, its optimizer, and a network whose weights fit the views of the evaluation."""
    name, _, argument = system.partition(":")
    if name == "capsule_video" and preset in ("ucf101", "kinetics"):
        pytest.skip("for small presets")
    config = load(f"configs/{name}.py:{','.join(filter(None, (preset, argument)))}")
    per_epoch = 100_000 / (config.train.epochs or 50)
    recipe.optimizer(config.optimizer, recipe.schedule(config.schedule, 0.1, 100_000, per_epoch))
    model = building.model(config, 7)
    sides = config.preprocessing.crop, config.evaluate.crop or config.preprocessing.crop
    logits = logits_of_a_view(model, *((1, config.data.frames, side, side, 3) for side in sides))
    assert logits.shape[::2] == (1, 7)


@functools.cache  # presets share networks
def logits_of_a_view(model, clip, view):
    with native_operations():
        output, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.zeros(clip))
        return (output if view == clip else jax.eval_shape(model.apply, variables, jnp.zeros(view))).logits


def test_the_slow_pathway_alone_sees_the_frames_that_it_sees_in_slowfast():
    for preset in ("motion", "ucf101_small"):
        both = load(f"configs/slowfast.py:{preset}")
        alone = load(f"configs/slowfast.py:{preset},variant=slow_r18_small")
        seen = create("slowfast_r18_small", 2)._slow_frames(both.data.frames) * (both.data.stride or 1)
        assert (np.arange(alone.data.frames) * alone.data.stride).tolist() == seen.tolist()


def test_every_argument_names_its_own_directory():
    arguments = {
        "late_fusion": ("", "share_towers=false", "fuse_at=scores", "fuse_at=scores,fusion=max", "folder,fusion=max"),
        "slow_fusion": ("", "frames=14", "share_columns=false"),
        "multires": ("", "base=early_fusion", "streams=fovea", "streams=fovea,motion_hard"),
    }
    names = [load(f"configs/{system}.py:{text}").name for system, texts in arguments.items() for text in texts]
    assert len(set(names)) == len(names)
    assert load("configs/late_fusion.py:folder,fusion=max").name == "late_fusion-folder-fusion=max"


@pytest.mark.parametrize("preset", ["motion", "motion_hard", "ucf101", "ucf101_small", "folder"])
def test_late_fusion_sees_two_frames_exactly_15_apart(preset):
    data = load(f"configs/late_fusion.py:{preset}").data
    assert (data.frames, data.stride, data.sampling, data.fps) == (2, 15, None, None)
    assert load(f"configs/multires.py:{preset},base=late_fusion").data.stride == 15


def test_overrides_are_read_with_the_type_of_the_key():
    config = load(
        f"{EARLY}:ucf101",
        {
            "train.steps": "1e3",
            "optimizer.learning_rate": 1,
            "optimizer.momentum": "0.5",
            "data.allow_missing": "True",
            "model.dropout": "none",
            "data.root": "some folder",
        },
    )
    assert config.train.steps == 1000 and isinstance(config.train.steps, int)
    assert config.optimizer.learning_rate == 1.0
    assert config.optimizer.momentum == 0.5
    assert config.data.allow_missing is True
    assert config.model.dropout is None
    assert config.data.root == "some folder"


@pytest.mark.parametrize(
    "key, value, error, tokens",
    [
        (
            "optimizer.momentm",
            "1",
            UnknownKeyError,
            (
                "'optimizer.momentm'",
                "optimizer.momentum",
            ),
        ),
        (
            "optimiser.momentum",
            "1",
            UnknownKeyError,
            (
                "'optimiser.momentum'",
                "optimizer.momentum",
            ),
        ),
        (
            "batch_size",
            "1",
            UnknownKeyError,
            (
                "'batch_size'",
                "train.batch_size",
            ),
        ),
        (
            "optimizer.lr",
            "1",
            UnknownKeyError,
            (
                "'optimizer.lr'",
                "optimizer.learning_rate",
            ),
        ),
        (
            "train.foo",
            "1",
            UnknownKeyError,
            (
                "'train.foo'",
                "batch_size, early_stopping_patience",
            ),
        ),
        (
            "optimizer",
            "adam",
            UnknownKeyError,
            (
                "'optimizer'",
                "optimizer.name",
            ),
        ),
        (
            "train",
            "3",
            UnknownKeyError,
            (
                "'train'",
                "train.batch_size, train.early_stopping_patience",
            ),
        ),
        ("train.steps", "many", ConfigError, ("--config.train.steps=many", "'many'")),
        ("train.steps", "1.5", ConfigError, ("--config.train.steps=1.5", "'1.5'")),
        ("seed", "none", ConfigError, ("seed", "None")),
    ],
)
def test_override_errors_are_one_line(key, value, error, tokens):
    with refused(error, *tokens):
        load(EARLY, {key: value})


def test_missing_file_names_the_nearest_or_all():
    with refused(ConfigError, "configs/early_fussion.py", "configs/early_fusion.py"):
        load("configs/early_fussion.py")
    with refused(ConfigError, "configs/vit.py", "configs/c3d.py"):
        load("configs/vit.py")


@pytest.mark.parametrize(
    "words, tokens",
    [
        (["--lr=0.1"], ("--lr", "'--config.optimizer.learning_rate'")),
        (["--seed", "1"], ("--seed", "'--config.seed'")),
        (["--train.steps=5"], ("--train.steps", "'--config.train.steps'")),
        (["--output_dir=x"], ("--output_dir", "--workdir")),
        (["--confg=x"], ("--confg", "'--config'")),
        (["--foo"], ("--foo", "--config", "--config.KEY=VALUE")),
    ],
)
def test_unknown_flags_are_one_line(words, tokens):
    for config in ([], [f"--config={EARLY}"]):
        argv, values = ["launch.py", *config, *words], flags.FlagValues()
        flags.DEFINE_string("config", None, "", flag_values=values)
        with refused(ConfigError, *tokens):
            overrides.parse_flags(argv, values)


@pytest.mark.parametrize(
    "words",
    [
        ["--config=a.py", "--config.train.ema_decay=0.9", "--config.optimizer.l2=-1", "x"],
        ["--config.train.ema_decay", "0.9", "x", "--config.optimizer.l2", "-1", "--config", "a.py"],
        ["-config", "a.py", "x", "-config.train.ema_decay", "0.9", "-config.optimizer.l2=-1"],
    ],
)
def test_flags_are_told_from_keys_however_they_are_written(words):
    values = flags.FlagValues()
    flags.DEFINE_string("config", None, "", flag_values=values)
    left = overrides.parse_flags(["launch.py", *words], values)
    assert left == ["launch.py", "x", "--config.train.ema_decay=0.9", "--config.optimizer.l2=-1"]
    assert values.config == "a.py"


def test_a_tilde_is_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.py").write_text('"""Of mine."""\n\nfrom vidjax.config.presets import get_config\n')
    for argument in ("~/mine.py", "~/mine.py:folder"):
        config = load(argument, {"data.root": "~/clips"})
        assert config.data.root == "~/clips", "the config keeps what was typed"
    assert help.describe_files(["launch.py", "--config=~/mine.py", "--help"]) == "Of mine."
    assert "--config.data.name=folder" in help.describe_keys(["launch.py", "--config=~/mine.py:folder"])
    (tmp_path / "clips").write_text("")
    with refused(DataError, "data.root=~/clips"):
        source(config)


def test_file_without_get_config_is_refused(tmp_path):
    (tmp_path / "empty.py").write_text("")
    with refused(ConfigError, "empty.py", "get_config(argument)"):
        load(str(tmp_path / "empty.py"))


@pytest.mark.parametrize(
    "body, tokens",
    [
        ("config.train.batch_size = None", ("train.batch_size", "None")),
        ("config.data.name = None", ("data.name", "None")),
        ("config.train.steps = 10.5", ("{path}", "6", "train.steps", "10.5", "int")),
        (
            "part = config.optimizer; part.learning_rate = 'x'",
            ("{path}", "6", "optimizer.learning_rate", "'x'", "float"),
        ),
        ("config.seed = 'x'", ("{path}", "6", "seed", "'x'", "int")),
        ("None + 1", ("{path}", "6", "'NoneType'", "'int'")),
        ("config = ConfigDict()", ("'name'", "vidjax.config.presets.get_config()")),
        ("config.train = ConfigDict({'steps': 3})", ("'train.batch_size'", "vidjax.config.presets.get_config()")),
        (
            "config.checkpoint = ConfigDict({'every': 'x', 'keep': 1})",
            ("checkpoint.every", "'x'", "int"),
        ),
    ],
)
def test_what_is_wrong_in_a_file_is_one_line_with_the_key(tmp_path, body, tokens):
    path = tmp_path / "mine.py"
    text = "from ml_collections import ConfigDict\nfrom vidjax.config import presets\n\ndef get_config(argument):\n"
    path.write_text(f"{text}    config = presets.get_config()\n    {body}\n    return config\n")
    with refused(ConfigError, *(token.replace("{path}", str(path)) for token in tokens)):
        load(str(path))


def test_what_is_wrong_in_a_get_config_of_another_file_has_no_line(tmp_path, monkeypatch):
    (tmp_path / "get_config_of_others.py").write_text("def get_config(argument):\n    return len(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    (path := tmp_path / "mine.py").write_text("from get_config_of_others import get_config\n")
    with refused(ConfigError, path, "len()"):
        load(str(path))


def test_a_get_config_without_an_argument_is_told_apart(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def get_config():\n    pass\n")
    with refused(ConfigError, path, "get_config(argument)"):
        load(str(path))


def test_a_flag_is_no_value():
    for words in (["--config.name", "--config.seed=3"], ["--config.name"]):
        with refused(ConfigError, "--config.name", "--config.name=VALUE"):
            overrides.config_overrides(overrides.join_flag_values(words))
    assert overrides.config_overrides(["--config.optimizer.l2", "-1"]) == {"optimizer.l2": "-1"}


def test_every_duration_may_be_given_in_another_unit():
    loss = load("configs/capsule_video.py", {"loss.margin_epochs": 3}).loss
    assert (loss.margin_steps, loss.margin_epochs, loss.margin_fraction) == (None, 3.0, None)
    for section in ("loss", "schedule"):
        for name in declarations.all_options(section):
            if name.endswith("_steps"):
                key = f"{section}.{name}"
                units = declarations.duration_keys(key)
                assert key in units and set(units) <= {
                    f"{section}.{each}" for each in declarations.all_options(section)
                }
                assert all(declarations.duration_keys(unit) == units for unit in units)
    assert declarations.duration_keys("optimizer.newton_schulz_steps") == ()
    boundaries = {"schedule.name": "step", "schedule.boundaries": "0.5"}
    assert load(EARLY, boundaries).schedule.boundaries == (0.5,)


@pytest.mark.parametrize(
    "key, value, tokens",
    [
        ("model.dropout", "1e400", ("model.dropout=inf", "0", "1")),
        ("optimizer.learning_rate", "1e400", ("optimizer.learning_rate=inf", "0")),
        ("preprocessing.mean", "nan", ("preprocessing.mean=nan",)),
    ],
)
def test_numbers_that_are_not_finite_are_refused_with_the_range(key, value, tokens):
    with refused(ConfigError, *tokens):
        declarations.check_values(load(EARLY, {key: value}))


@pytest.mark.parametrize("content, kind", [("[1, 2]", "list"), ("3", "int"), ('"text"', "str")])
def test_a_stored_config_that_is_none_is_one_line(tmp_path, content, kind):
    (tmp_path / "config.json").write_text(content)
    with refused(ConfigError, "config.json", kind):
        stored.read_stored(tmp_path)


def test_typed_steps_displace_the_epochs_of_the_preset():
    config = load(f"{EARLY}:ucf101", {"train.steps": 5})
    assert (config.train.steps, config.train.epochs) == (5, None)


def test_another_optimizer_drops_the_options_of_the_preset_and_keeps_what_was_typed():
    config = load(f"{EARLY}:ucf101", {"optimizer.name": "adamw", "optimizer.b1": 0.8})
    assert "momentum" not in config.optimizer and "l2" not in config.optimizer
    assert config.optimizer.b1 == 0.8
    config = load(f"{EARLY}:kinetics", {"data.name": "packed", "data.root": "packed"})
    assert "validation" not in config.data, "of the preset's source"
    config = load("configs/i3d.py", {"loss.name": "spread"})
    assert "average" not in config.loss


def test_unknown_source_and_option_are_one_line_errors():
    with refused(ConfigError, "'ucf102'", "'ucf101'", "motion, motion_hard"):
        load("configs/default.py:ucf102")
    with refused(ConfigError, "'ufc101'", "'ucf101'"):
        source(load(EARLY, {"data.name": "ufc101"}))
    with refused(ConfigError, "--config.data.root=", "--config.data.splits="):
        source(load(f"{EARLY}:ucf101"))
    with refused(ConfigError, "data.mirror='no'", "invariant, forbidden"):
        source(load(f"{EARLY}:folder", {"data.root": "x", "data.mirror": "no"}))
    with refused(UnknownKeyError, "'motion'", "'splits'", "ucf101"):
        source(load(EARLY, {"data.splits": "x"}))


@pytest.mark.parametrize("preset", ["mnist", *presets.PRESETS])
def test_a_key_without_a_value_can_be_given_one(preset):
    """What is plainly None has no type, and the command line could not set it."""

    def untyped(section, path=""):
        for key in section:
            if section.get_type(key) is type(None):
                yield path + key
            elif isinstance(section[key], ConfigDict):
                yield from untyped(section[key], f"{path}{key}.")

    assert list(untyped(presets.get_config(preset))) == []
