import re

import pytest

from vidjax.config import declarations, hints


@pytest.fixture(scope="module")
def known():
    return declarations.known_keys()


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("optimizer.lr", "optimizer.learning_rate"),
        ("SOLVER.BASE_LR", "optimizer.learning_rate"),
        ("learning-rate", "optimizer.learning_rate"),
        ("wd", "optimizer.weight_decay"),
        ("train.seed", "seed"),
        ("trainer.max_epochs", "train.epochs"),
        ("schedule.num_steps", "train.steps"),
        ("data.batch_size", "train.batch_size"),
        ("eval.batch_size", "evaluate.batch_size"),
        ("DATA.NUM_FRAMES", "data.frames"),
        ("data.frame_interval", "data.stride"),
        ("crop_size", "preprocessing.crop"),
        ("data.num_workers", "data.workers"),
        ("precision", "dtype"),
        ("save_every", "checkpoint.every"),
        ("eval.clips", "evaluate.clips"),
        ("dataset.path", "data.root"),
        ("train.momentum", "optimizer.momentum"),
        ("optimzer.lerning_rate", "optimizer.learning_rate"),
        ("optim.wd", "optimizer.weight_decay"),
        ("momentum", "optimizer.momentum"),
        ("scheduler.gamma", "schedule.decay_rate"),
    ],
)
def test_what_people_try_names_the_key(known, typed, meant):
    assert hints.hint(typed, known) == f"; did you mean {meant!r}?"
    assert hints.hint(typed, known, "--config.") == f"; did you mean '--config.{meant}'?"


@pytest.mark.parametrize(
    "typed, said",
    [
        ("model.pretrained", "; training cannot start from pretrained weights"),
        ("model.num_classes", "; the classes are those of the data"),
        ("train.gpus", "; all devices that JAX sees are used"),
        ("output_dir", "; results go to the flag --workdir"),
        ("train.foo", " (train has: batch_size, early_stopping_patience, "),
        ("model.attention_heads", " (model has: "),
        ("optimizer.beta", " (optimizer has: "),
        (
            "foo.bar",
            " (known: dtype, keep_memory, name, native_convolutions, parallel, seed, batch_norm.*, checkpoint.*, ",
        ),
        ("checkpoint.path", "; results go to the flag --workdir"),
        ("BN.EPSILON", " (batch_norm has: "),
        ("BN.MOMENTUM", " (batch_norm has: "),
        ("bn.weight_decay", " (batch_norm has: "),
        ("evaluate.every", " (evaluate has: "),
        ("data.decoder", " (data has: "),
        ("model.gamma", " (model has: "),
        ("train.min_lr", "; did you mean 'schedule.final_fraction' (a share of the peak)?"),
        ("check_val_every_n_epoch", "; did you mean 'train.validate_every' (steps)?"),
        ("foo", " (known: dtype, "),
    ],
)
def test_what_no_key_stands_for_gets_no_guess(known, typed, said):
    assert hints.hint(typed, known).startswith(said)


def test_a_name_in_several_sections_is_told_with_all(known):
    assert hints.hint("train.factory", known) == "; did you mean 'data.factory' or 'loss.factory' or 'model.factory'?"


def test_words_stand_for_one_thing_and_keys_are_there(known):
    words = " ".join([*hints._WORDS.values(), *hints._SENTENCES.values()]).split()
    assert len(words) == len(set(words))
    assert hints._WORDS.keys() <= set(known)
    assert hints._SECTIONS.keys() <= {key.partition(".")[0] for key in known}
    assert all(re.fullmatch("[a-z0-9_]+", word) for word in words)


def test_the_first_proposal_is_the_suggestion(known):
    assert hints.suggestion("train.lr", known) == "optimizer.learning_rate"
    assert hints.suggestion("train.foo", known) is None
