"""`python -m vidjax readme` and `collect`, and that this repository's README agrees with its results."""

import argparse
import json
from pathlib import Path

import numpy
import pandas
import pytest

from benchmarks import report
from tests.refusals import refused, unnamed
from tests.reporting import run_directory
from vidjax.cli import collect, readme, zero_shot
from vidjax.errors import ConfigError, DataError
from vidjax.reporting.readme import difference, regenerate

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = """
from vidjax.experiment.plan import Experiment, Setting

def get_experiment():
    return Experiment(name="tiny", title="Tiny", axes={"model": {"net": Setting("a.py")}}, columns=("video_top1",))
"""


def call(verb, *arguments, overrides=None):
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    return verb.run(parser.parse_args([str(argument) for argument in arguments]), overrides or {})


@pytest.fixture
def page(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "tiny.py").write_text(EXPERIMENT)
    (tmp_path / "results" / "tiny").mkdir(parents=True)
    result = run_directory.result(run_directory.predictions(["a", "b"], 8), video_top1=0.625)
    result.write(tmp_path / "results" / "tiny" / "net-seed0.json")
    path = tmp_path / "README.md"
    path.write_text("# X\n<!-- results: tiny -->\n<!-- end -->\n")
    return path


def test_readme_is_regenerated_and_then_agrees(page, capsys):
    before = page.read_text()
    assert call(readme, "--check", "--root", page.parent) == 1
    assert "+| net | 62.5 | 1 |" in capsys.readouterr().out
    assert page.read_text() == before, "--check changes nothing"
    assert call(readme, "--root", page.parent) == 0
    assert "| net | 62.5 | 1 |" in page.read_text()
    assert call(readme, "--check", "--root", page.parent) == 0


def test_a_number_typed_in_is_found(page):
    call(readme, "--root", page.parent)
    page.write_text(page.read_text().replace("62.5", "92.5"))
    assert call(readme, "--check", "--root", page.parent) == 1


def test_the_tables_of_a_benchmark_are_shown(page, capsys):
    page.write_text("<!-- results: benchmarks/input -->\n<!-- end -->\n")
    with refused(DataError, "input.json", "--out="):
        call(readme, "--root", page.parent)
    table = pandas.DataFrame([("none", "12 (10 to 13)")], columns=["cache", "clips/s"])
    written = page.parent / "results" / "benchmarks" / "input.json"
    report.write(written, {"Reading": table}, {"none": [10, 12, 13]}, about="2 videos", packages=["numpy", "absent"])
    assert call(readme, "--root", page.parent) == 0
    text = page.read_text()
    assert "**Reading**" in text and "| none | 12 (10 to 13) |" in text
    assert "2 videos; hardware: CPU, " in text and f"numpy {numpy.__version__}; code: " in text and "absent" not in text


def test_published_weights_are_shown(page):
    page.write_text("<!-- results: pretrained/x -->\n<!-- end -->\n")
    with refused(DataError, "x.json", "--out"):
        call(readme, "--root", page.parent)
    clips = {
        f"{name}/v_{name}_g0{group}_c01.avi": {"label": label, "top5": [best, label], "mapped": label}
        for name, label, best in (("A", "squat", "squat"), ("B", "lunge", "yoga"))
        for group in (1, 2)
    }
    protocol = {"weights": "w", "frames": 64, "fps": 25.0, "position": "middle", "views": 1}
    content = {"protocol": protocol, "summary": zero_shot.summarize(clips), "clips": clips}
    (page.parent / "results" / "pretrained").mkdir()
    (page.parent / "results" / "pretrained" / "x.json").write_text(json.dumps(content))
    assert call(readme, "--root", page.parent) == 0
    text = page.read_text()
    assert "| squat | 2 | 100.0 | 100.0 | - |" in text and "| lunge | 2 | 0.0 | 100.0 | yoga 2 |" in text
    assert "| all | 4 | 50.0 (" in text and not unnamed(text, 64, 25)


def test_a_result_that_belongs_to_no_run_is_an_error(page):
    (page.parent / "results" / "tiny" / "old-seed0.json").write_text("{}")
    with refused(DataError, "old-seed0.json", "'model'"):
        call(readme, "--check", "--root", page.parent)


def test_verbs_take_no_config_keys(page):
    with refused(ConfigError, "readme", "--config.KEY=VALUE"):
        call(readme, "--root", page.parent, overrides={"seed": "1"})
    with refused(ConfigError, "collect", "--config.KEY=VALUE", "--check"):
        call(collect, page.parent, overrides={"seed": "1"})


def test_collect(page, tmp_path, capsys):
    workdir = tmp_path / "work"
    run_directory.write(workdir / "runs" / "net-seed0", samples=False)
    (workdir / "experiment.json").write_text(json.dumps({"name": "tiny", "runs": ["net-seed0", "net-seed1"]}))
    assert call(collect, workdir, "--destination", tmp_path / "out") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["net-seed0.json"]
    assert "1 results" in capsys.readouterr().out


def test_pages_of_docs_are_filled_too(page, capsys):
    other = page.parent / "docs" / "deep" / "results.md"
    other.parent.mkdir(parents=True)
    other.write_text("<!-- results: tiny -->\n<!-- end -->\n")
    assert call(readme, "--root", page.parent) == 0
    assert "| net | 62.5 | 1 |" in other.read_text()
    other.write_text(other.read_text().replace("62.5", "92.5"))
    capsys.readouterr()
    assert call(readme, "--check", "--root", page.parent) == 1
    shown = capsys.readouterr().out
    assert "docs/deep/results.md" in shown and "README.md" not in shown
    other.write_text("<!-- results: tiny -->\n")
    with refused(DataError, "results.md", "line 1", "results: tiny"):
        call(readme, "--root", page.parent)


def test_a_folder_without_a_readme_is_refused(tmp_path):
    with refused(DataError, "README.md", "--root"):
        call(readme, "--root", tmp_path)


def test_the_best_row_of_each_data_set_is_shown(page):
    page.write_text("<!-- results: best -->\n<!-- end -->\n")
    two = EXPERIMENT.replace('{"net": Setting("a.py")}', '{"net": Setting("a.py"), "other": Setting("b.py")}')
    (page.parent / "experiments" / "tiny.py").write_text(two)
    (page.parent / "experiments" / "not_run.py").write_text(two)
    better = run_directory.result(run_directory.predictions(["a", "b"], 8), video_top1=0.75)
    better.write(page.parent / "results" / "tiny" / "other-seed0.json")
    assert call(readme, "--root", page.parent) == 0
    (row,) = [line for line in page.read_text().splitlines() if "rows; this one: tiny" in line]
    assert "| other |" in row and "| 75.0 |" in row and "| 2 rows; this one: tiny |" in row
    assert "62.5" not in page.read_text()


def test_the_pages_of_this_repository_agree_with_its_results():
    if not (ROOT / "README.md").is_file():
        pytest.skip("no README.md beside the package")
    filled = 0
    for path in readme.pages(ROOT):
        text = path.read_text()
        new = regenerate(text, lambda name: readme.block(ROOT, name))
        assert new == text, "python -m vidjax readme\n" + difference(text, new, path.name)
        filled += "<!-- results: " in text
    assert filled
