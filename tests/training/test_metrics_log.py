import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.refusals import refused
from vidjax.errors import DivergedError
from vidjax.training.metrics_line import TrainLine
from vidjax.training.metrics_log import MetricsLog

ROOT = Path(__file__).resolve().parents[2]


def test_starting_imports_neither_reports_nor_pytorch(tmp_path):
    (tmp_path / "torch.py").write_text("raise RuntimeError('imported')")
    program = """
import sys
from pathlib import Path
import vidjax.train
from vidjax.training.metrics_line import TrainLine
from vidjax.training.metrics_log import MetricsLog
with MetricsLog(Path(sys.argv[1])) as log:
    log.write(TrainLine(step=1, loss=0.5))
print({"pandas", "matplotlib", "jinja2", "torch"} & sys.modules.keys())
"""
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    words = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert (done.stdout, done.returncode) == ("set()\n", 0), done.stderr
    assert list(tmp_path.glob("tensorboard/events*"))


@pytest.mark.parametrize("name", ["loss", "gradient_norm"])
def test_a_number_that_is_not_finite_ends_the_run(tmp_path, name):
    values = {"loss": 0.5, "gradient_norm": 1.0, name: math.nan}
    with MetricsLog(tmp_path) as log, refused(DivergedError, *name.split("_"), "nan", "3"):
        log.write(TrainLine(step=3, **values))
    assert not (tmp_path / "metrics.jsonl").read_text()
