"""An experiment with a launcher that takes no time: it writes the files that a real run would leave."""

import dataclasses
import json

from tests.reporting import run_directory
from vidjax.config import flat, identity, loading
from vidjax.experiment import plan, runner

CONFIG = """
from vidjax.config import sections

def get_config(argument=""):
    config = sections.new_config()
    config.data.name, config.data.split, config.data.root = "ucf101", 0, ""
    return config
"""
EXPERIMENT = """
from vidjax.experiment.plan import Experiment, Setting

def get_experiment():
    return Experiment(
        name="fake", title="A fake", config={config!r}, splits=(2, 3), seeds=(0, 1),
        axes={{"rate": {{"low": Setting(overrides={{"optimizer.learning_rate": 0.5}}),
                        "high": Setting(overrides={{"optimizer.learning_rate": 2.0}})}}}},
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
            config = loading.load(run.config, run.overrides)
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
                config_hash=identity.config_hash(config),
            )
            prepared[run.name] = {"config": json.loads(flat.to_json(config)), "result": result.to_json()}
        (self.folder / "prepared.json").write_text(json.dumps(prepared))

    def run(self, overrides=None, **options):
        return runner.run(self.file, self.workdir, overrides, launcher=self.folder / "launcher.py", **options)

    def calls(self):
        path = self.folder / "calls.txt"
        names = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return names

    def average(self):
        """Adds a row that averages both rates; each is right on other videos, surely where it is right."""
        self.file.write_text(self.file.read_text().replace("axes=", 'ensembles={"both": ("low", "high")}, axes='))
        for split, count in ((2, 8), (3, 16)):
            for seed in (0, 1):
                for rate, right in (("low", 0), ("high", 1)):
                    predicted = run_directory.predictions(["a", "b"], count)
                    videos = []
                    for i, video in enumerate(predicted.videos):
                        true = 0.9 if i // 2 % 2 == right else 0.4
                        scores = [true, 1 - true] if video.label == 0 else [1 - true, true]
                        videos.append(dataclasses.replace(video, scores=scores))
                    folder = self.workdir / "runs" / f"{rate}-split{split}-seed{seed}" / "predictions"
                    dataclasses.replace(predicted, videos=videos, split=str(split)).write(folder / "test.json")
