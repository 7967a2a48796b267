"""`python -m vidjax export`."""

import pytest

from tests.golden import snapshot
from tests.refusals import unnamed
from vidjax import cli


def test_a_run_is_exported(tmp_path, capsys):
    pytest.importorskip("flatbuffers", reason="needs requirements-export.txt")
    out = tmp_path / "a.stablehlo"
    assert cli.main(["export", f"--workdir={snapshot.FOLDER / 'run'}", f"--out={out}", "--raw"]) == 0
    shown = capsys.readouterr().out
    assert not unnamed(shown, out, "EarlyFusion", "rgb", "float32", "[batch, 4, 20, 20, 3]", "[batch, 1, 2]", "cuda")
    assert "from jax import export" in shown and out.is_file()


def test_the_file_is_refused_before_the_network_is_read(tmp_path, capsys):
    assert cli.main(["export", f"--workdir={tmp_path / 'none'}", f"--out={tmp_path / 'a.pb'}"]) == 1
    assert not unnamed(capsys.readouterr().err, tmp_path / "a.pb")
    assert not any(tmp_path.iterdir())
