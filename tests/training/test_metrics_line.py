import json
import subprocess
import sys

import pytest

from tests.refusals import refused
from vidjax.errors import DataError
from vidjax.training import metrics_line
from vidjax.training.metrics_line import STEP_METRICS, TrainLine, ValidationLine

OLD = (
    '{"step": 2, "split": "train", "loss": 0.71, "top1": 0.625, "learning_rate": 0.048}\n'
    '{"step": 4, "split": "validation", "loss": 0.69, "clip_top1": 0.5, "video_top1": 0.25}\n'
)


def test_lines_of_an_older_run_are_read_and_written_as_they_were(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(OLD)
    lines = metrics_line.read(tmp_path / "metrics.jsonl")
    assert lines == [
        TrainLine(step=2, loss=0.71, top1=0.625, learning_rate=0.048),
        ValidationLine(step=4, loss=0.69, clip_top1=0.5, video_top1=0.25),
    ]
    assert "".join(metrics_line.to_json(line) + "\n" for line in lines) == OLD


def test_all_that_a_step_measures_is_written(tmp_path):
    means = {name: float(number) for number, name in enumerate(STEP_METRICS)}
    line = TrainLine.of(10, means, 0.1)
    text = metrics_line.to_json(line)
    assert json.loads(text) == {"step": 10, "split": "train", **means, "learning_rate": 0.1}
    assert metrics_line.from_json(text) == line
    with pytest.raises(TypeError, match="gradient_nrom"):
        TrainLine.of(10, {**means, "gradient_nrom": 1.0}, 0.1)


def test_what_a_newer_version_logs_is_kept():
    text = '{"step": 2, "split": "train", "loss": 0.71, "entropy": 0.3}'
    line = metrics_line.from_json(text)
    assert line.extra == {"entropy": 0.3} and metrics_line.to_json(line) == text
    assert metrics_line.from_json('{"step": 2, "split": "calibration", "error": 0.1}') is None


def test_a_file_cut_by_a_kill_is_read_up_to_there(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "split": "train", "loss": NaN}\n{"step": 2, "spl')
    assert [line.step for line in metrics_line.read(path)] == [1]
    assert metrics_line.read(tmp_path / "none") == []


@pytest.mark.parametrize("line", ['{"step": 1, "spl', '{"step": 1, "split": "train"}', '{"step": 1}', "[]"])
def test_a_line_that_cannot_be_read_is_an_error(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{line}\n{{"step": 2, "split": "train", "loss": 1.0}}\n')
    with refused(DataError, "metrics.jsonl", "1"):
        metrics_line.read(path)


def test_it_is_read_without_jax():
    code = "import sys, vidjax.training.metrics_line; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
