import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from tests.experiment.lab import Lab
from tests.refusals import refused, unnamed
from vidjax.errors import ConfigError, UnknownKeyError
from vidjax.experiment.runner import ROOT, main, run


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


def test_runs_everything_once_and_pools_splits(lab, capsys):
    assert lab.run() == 0
    assert len(lab.calls()) == 8
    table = (lab.workdir / "table.md").read_text()
    # Seeds 0 and 1: 2/4 and 3/4 correct for low; split 3 counts twice but has the same share.
    assert "| low | 24 | 62.5 ± 17.7 | 62.5 ± 17.7 | 2:00 | 2 |" in table
    assert "| high | 24 | 87.5 ± 17.7 | 87.5 ± 17.7 | 2:00 | 2 |" in table
    records = json.loads((lab.workdir / "results.json").read_text())
    assert {record["status"] for record in records.values()} == {"finished"}
    assert (lab.workdir / "runs" / "low-split2-seed0" / "log.txt").read_text().startswith("training --config=")
    printed = capsys.readouterr().out
    assert "run 8 of 8" in printed
    assert "about" in printed

    assert lab.run() == 0
    assert lab.calls() == [], "finished runs are not run again"


def test_a_wide_table_repeats_every_axis(lab, monkeypatch, capsys):
    axes = 'axes={"size": {"small": Setting(), "large": Setting(overrides={"data.root": "large"})}, '
    lab.file.write_text(lab.file.read_text().replace("axes={", axes).replace("seeds=(0, 1)", "seeds=(0,)"))
    lab.prepare()
    monkeypatch.setattr("vidjax.system.terminal.LOG_WIDTH", 50)
    assert lab.run() == 0
    table = capsys.readouterr().out.rpartition("run 8 of 8")[2]
    for size in ("small", "large"):
        for rate in ("low", "high"):
            assert sum(line.split()[:2] == [size, rate] for line in table.splitlines()) == 2


def test_a_failed_run_is_recorded_and_stops_nothing(lab, capsys):
    lab.fail("low-split3-seed1")
    assert lab.run() == 1
    assert len(lab.calls()) == 8
    error = lab.workdir / "runs" / "low-split3-seed1" / "error.txt"
    assert error.read_text() == "exit status 1: launch.py: no such folder [x]\n"
    assert "failed: low-split3-seed1: exit status 1" in capsys.readouterr().out
    table = (lab.workdir / "table.md").read_text()
    assert "| 1 of 2 |" in table, "the seed without all of its splits does not count, and the table says so"

    lab.fail()
    assert lab.run() == 0
    assert lab.calls() == ["low-split3-seed1"]
    assert not error.exists()


def test_missing_rows_are_shown_as_missing(lab):
    lab.fail(*(f"low-split{split}-seed{seed}" for split in (2, 3) for seed in (0, 1)))
    assert lab.run() == 1
    assert "| low | missing | missing | missing | missing | 0 of 2 |" in (lab.workdir / "table.md").read_text()


def test_runs_with_another_config_are_moved_aside(lab):
    lab.run()
    lab.calls()
    lab.prepare({"data.root": "elsewhere"})
    lab.fail("high-split3-seed1")
    assert lab.run({"data.root": "elsewhere"}) == 1
    assert len(lab.calls()) == 8
    row = (lab.workdir / "table.md").read_text().splitlines()[-1]
    assert row.startswith("| high |")
    assert row.endswith("| 1 of 2 |"), "the old result is not in the new table"
    assert len(list((lab.workdir / "replaced").iterdir())) == 8
    log = (lab.workdir / "runs" / "low-split2-seed0" / "log.txt").read_text()
    assert "--config.data.root=elsewhere" in log


def test_states(lab, capsys):
    lab.fail("high-split2-seed0")
    lab.run()
    folder = lab.workdir / "runs"
    (folder / "low-split2-seed0" / "result.json").unlink()
    (folder / "low-split3-seed0" / "result.json").write_text('{"finished": tr')  # killed while it wrote
    (folder / "high-split3-seed0" / "result.json").unlink()
    other = {"seed": 0, "optimizer": {"learning_rate": 7.0}}
    (folder / "high-split3-seed0" / "config.json").write_text(json.dumps(other))
    lab.calls()
    capsys.readouterr()
    assert lab.run(list_only=True) == 0
    states = dict(line.rsplit("  ", 2)[:2][::-1] for line in capsys.readouterr().out.splitlines())
    states = {name.strip(): state.strip() for name, state in states.items()}
    assert states["low-split2-seed0"] == "interrupted"
    assert states["low-split3-seed0"] == "interrupted"
    assert states["high-split3-seed0"] == "other config"
    assert states["high-split2-seed0"] == "failed"
    assert states["high-split2-seed1"] == "finished"
    assert lab.calls() == []


def test_a_wrong_key_is_found_before_anything_runs(lab):
    with refused(UnknownKeyError, "'data.rot'", "'data.root'"):
        lab.run({"data.rot": "x"})
    assert lab.calls() == []


def test_a_contradiction_in_a_run_is_found_before_anything_is_made(tmp_path):
    overrides = {"train.epochs": 1, "train.steps": 2}
    with refused(ConfigError, "single_frame-seed0", "train.steps", "train.epochs"):
        run("experiments/motion.py", tmp_path / "work", overrides)
    assert not (tmp_path / "work").exists()


def test_main_refuses_unknown_arguments(lab):
    with refused(ConfigError, "'--fast'", "--config.KEY=VALUE"):
        main(lab.file, lab.workdir, ["--fast"])


def test_main_lists(lab, capsys):
    assert main(lab.file, lab.workdir, ["--list", "--config.optimizer.learning_rate=3"]) == 0
    assert capsys.readouterr().out.count("--config.optimizer.learning_rate=3") == 8
    assert not lab.workdir.exists()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_terminated_runner_takes_its_run_with_it(lab):
    (lab.folder / "slow").touch()
    program = textwrap.dedent(f"""
        from pathlib import Path
        from vidjax.experiment import runner
        runner.run({str(lab.file)!r}, {str(lab.workdir)!r}, launcher=Path({str(lab.folder / "launcher.py")!r}))
    """)
    runner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL, cwd=ROOT)
    pid = lab.folder / "pid"
    deadline = time.monotonic() + 60
    while not (pid.is_file() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(timeout=30) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_only_runs_what_fits_and_the_table_shows_all(lab, capsys):
    assert lab.run(only="low-*-seed1") == 0
    assert lab.calls() == ["low-split2-seed1", "low-split3-seed1"]
    assert not unnamed(capsys.readouterr().out, 2, "'low-*-seed1'", 0)
    rows = (lab.workdir / "table.md").read_text().splitlines()
    assert rows[-2].endswith("| 1 of 2 |")
    assert rows[-1].startswith("| high | missing |")
    assert lab.run() == 0
    assert len(lab.calls()) == 6, "the next sitting does the rest"


def test_only_by_the_command_line(lab, capsys):
    assert main(lab.file, lab.workdir, ["--list", "--only=*-split3-seed0"]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == [
        "low-split3-seed0",
        "high-split3-seed0",
    ]
    with refused(ConfigError, "--only=middle*", "--list", "low-split2-seed0"):
        main(lab.file, lab.workdir, ["--only=middle*"])


def test_results_of_another_config_leave_the_table_also_where_they_are_not_run(lab):
    lab.run()
    lab.prepare({"data.root": "elsewhere"})
    assert lab.run({"data.root": "elsewhere"}, only="low-*") == 0
    assert "| high | missing |" in (lab.workdir / "table.md").read_text()


@pytest.fixture
def averaging(lab):
    lab.average()
    return lab


def test_an_ensemble_is_a_row_of_the_table(averaging):
    assert averaging.run(only="low-*") == 0
    assert "| both | missing |" in (averaging.workdir / "table.md").read_text()
    assert averaging.run() == 0
    # .9 and .4 average to .65: right everywhere, where each member is right on half.
    assert "| both | 24 | 100.0 ± 0.0 | 100.0 ± 0.0 | 4:00 | 2 |" in (averaging.workdir / "table.md").read_text()
    record = json.loads((averaging.workdir / "results.json").read_text())["both-split2-seed0"]
    assert record["status"] == "averaged"
    assert record["members"] == ["low-split2-seed0", "high-split2-seed0"]


def test_members_that_do_not_fit_stop_nothing(averaging, capsys):
    path = averaging.workdir / "runs" / "high-split2-seed0" / "predictions" / "test.json"
    path.write_text(path.read_text().replace("clip_000", "clip_abc"))
    assert averaging.run() == 0
    assert not unnamed(capsys.readouterr().out, "both-split2-seed0")
    assert "1 of 2" in (averaging.workdir / "table.md").read_text().splitlines()[-1]


def test_runs_whose_weights_are_not_here_are_left_out_and_say_how_to_get_them(lab, capsys):
    text = lab.file.read_text()
    lab.file.write_text(text.replace('"low": Setting(', '"low": Setting(weights="vgg19-imagenet", '))
    assert lab.run() == 0
    assert len(lab.calls()) == 4, "the others are run"
    table = (lab.workdir / "table.md").read_text()
    (row,) = [line for line in table.splitlines() if line.startswith("| low")]
    assert "python -m vidjax weights fetch vgg19-imagenet" in row and "0 of 2" in row
    assert "4 runs" in capsys.readouterr().out
    lab.file.write_text(text.replace('"low": Setting(', '"low": Setting(weights="vgg19-imagnet", '))
    with refused(ConfigError, "'vgg19-imagnet'", "'vgg19-imagenet'"):
        lab.run()
