"""The runner, with a launcher that takes no time: it writes the files that a real run would leave."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from tests.reporting import run_directory
from vidjax import configuration, experiment, plan
from vidjax.errors import ConfigError, DataError

CONFIG = """
from ml_collections import ConfigDict

def get_config(argument=""):
    return ConfigDict({"seed": 0, "rate": 1.0, "data": {"split": 0, "root": ""}})
"""
EXPERIMENT = """
from vidjax.plan import Experiment, Setting

def get_experiment():
    return Experiment(
        name="fake", title="A fake", config={config!r}, splits=(2, 3), seeds=(0, 1),
        axes={{"rate": {{"low": Setting(overrides={{"rate": 0.5}}), "high": Setting(overrides={{"rate": 2.0}})}}}},
        columns=("videos", "video_top1", "mean_class_accuracy", "seconds"),
    )
"""
# Fails where fail.json has its name; else "trains" to what prepared.json holds for it.
LAUNCHER = """
import json, os, pathlib, sys, time
here = pathlib.Path(__file__).parent
folder = pathlib.Path(sys.argv[-1].removeprefix("--workdir="))
with open(here / "calls.txt", "a") as calls:
    calls.write(folder.name + "\\n")
prepared = json.loads((here / "prepared.json").read_text())[folder.name]
(folder / "config.json").write_text(json.dumps(prepared["config"]))
print("training", *sys.argv[1:], flush=True)
if folder.name in json.loads((here / "fail.json").read_text()):
    sys.exit("launch.py: no such folder [x]")
if (here / "slow").exists():
    (here / "pid").write_text(str(os.getpid()))
    time.sleep(60)
(folder / "result.json").write_text(json.dumps(prepared["result"]))
"""


class Lab:
    """An experiment in a folder, with its fake launcher."""

    def __init__(self, folder):
        self.folder, self.workdir = folder, folder / "work"
        (folder / "config.py").write_text(CONFIG)
        self.file = folder / "fake.py"
        self.file.write_text(EXPERIMENT.format(config=str(folder / "config.py")))
        (folder / "launcher.py").write_text(LAUNCHER)
        self.fail()
        self.prepare()

    def fail(self, *names):
        (self.folder / "fail.json").write_text(json.dumps(names))

    def prepare(self, overrides=None):
        """What each run will leave: accuracy .5 for "low", .75 for "high"; split 3 has twice the videos."""
        prepared = {}
        for run in plan.runs_of(plan.load(self.file), overrides):
            config = configuration.load(run.config, run.overrides)
            scale = 2 if "split3" in run.name else 1
            right = 2 if run.name.startswith("low") else 3
            right += "seed1" in run.name
            result = run_directory.result(
                run_directory.predictions(["a", "b"], 8),
                split=str(config.data.split),
                classes=["a", "b"],
                per_class_videos=[4 * scale, 4 * scale],
                per_class_correct=[right * scale, right * scale],
                videos=8 * scale,
                seconds=60.0,
                config_hash=configuration.hash_of(config),
            )
            prepared[run.name] = {"config": json.loads(configuration.to_json(config)), "result": result}
        (self.folder / "prepared.json").write_text(json.dumps(prepared))

    def run(self, overrides=None, **options):
        return experiment.run(self.file, self.workdir, overrides, launcher=self.folder / "launcher.py", **options)

    def calls(self):
        path = self.folder / "calls.txt"
        names = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return names


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
    (folder / "high-split3-seed0" / "config.json").write_text(json.dumps({"seed": 0, "rate": 7.0}))
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
    with pytest.raises(ConfigError, match=r"data\.rot"):
        lab.run({"data.rot": "x"})
    assert lab.calls() == []


def test_main_refuses_unknown_arguments(lab):
    with pytest.raises(ConfigError, match="--fast"):
        experiment.main(lab.file, lab.workdir, ["--fast"])


def test_main_lists(lab, capsys):
    assert experiment.main(lab.file, lab.workdir, ["--list", "--config.rate=3"]) == 0
    assert capsys.readouterr().out.count("--config.rate=3") == 8
    assert not lab.workdir.exists()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_terminated_runner_takes_its_run_with_it(lab):
    (lab.folder / "slow").touch()
    program = textwrap.dedent(f"""
        from pathlib import Path
        from vidjax import experiment
        experiment.run({str(lab.file)!r}, {str(lab.workdir)!r}, launcher=Path({str(lab.folder / "launcher.py")!r}))
    """)
    runner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL, cwd=experiment.ROOT)
    pid = lab.folder / "pid"
    deadline = time.monotonic() + 60
    while not (pid.is_file() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    runner.send_signal(signal.SIGTERM)
    assert runner.wait(timeout=30) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_collect_copies_results_without_the_command(lab, tmp_path):
    lab.run()
    files = experiment.collect(lab.workdir, tmp_path / "results" / "fake")
    assert len(files) == 8
    result = json.loads((tmp_path / "results" / "fake" / "low-split2-seed0.json").read_text())
    assert result["per_class_correct"] == [2, 2]
    assert "command" not in result


def test_collect_refuses_paths_of_this_machine(lab, tmp_path):
    lab.run()
    path = lab.workdir / "runs" / "low-split2-seed0" / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "root": "/home/someone/UCF-101"}))
    with pytest.raises(DataError, match="/home/someone/UCF-101"):
        experiment.collect(lab.workdir, tmp_path / "results")


def test_collect_needs_an_experiment(tmp_path):
    with pytest.raises(DataError, match="experiment"):
        experiment.collect(tmp_path)
