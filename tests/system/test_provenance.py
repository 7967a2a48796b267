import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from vidjax.system import paths, provenance


def git(folder, *arguments):
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A repository that has one commit."""
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("1\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_the_commit_is_that_of_the_checkout(repository, monkeypatch):
    monkeypatch.setattr(provenance, "checkout", lambda: repository.resolve())
    commit = git(repository, "rev-parse", "--short=12", "HEAD")
    assert provenance.commit() == commit
    (repository / "new.txt").write_text("no code")
    assert provenance.commit() == commit
    (repository / "a.py").write_text("2\n")
    assert provenance.commit() == f"{commit}+"


def test_the_commit_of_a_repository_around_the_code_is_not_named(repository, monkeypatch):
    copy = repository / "copied"
    copy.mkdir()
    monkeypatch.setattr(provenance, "checkout", lambda: copy.resolve())
    assert provenance.commit() is None
    monkeypatch.setattr(provenance, "checkout", lambda: None)
    assert provenance.commit() is None


def test_installed_code_is_no_checkout(tmp_path):
    """Whatever files lie beside it."""
    assert paths.checkout() == ROOT
    shutil.copytree(ROOT / "vidjax", tmp_path / "vidjax", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "launch.py").touch()
    program = "from vidjax.system import paths; print(paths.__file__, paths.checkout())"
    said = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout.split() == [str(tmp_path / "vidjax" / "system" / "paths.py"), "None"]
