import dataclasses
import json

import pytest

from tests.refusals import refused
from tests.reporting import run_directory
from vidjax.errors import DataError
from vidjax.evaluation.result import Baseline
from vidjax.reporting import readme
from vidjax.reporting.comparison import COLUMNS, ComparisonRow

PAGE = "# Title\n<!-- results: a -->\nold\n<!-- end -->\nbetween\n<!-- results: b -->\n<!-- end -->\nlast\n"


def test_blocks_are_replaced_and_the_rest_is_not_touched():
    new = readme.regenerate(PAGE, lambda name: f"new {name}\n")
    assert new == (
        "# Title\n<!-- results: a -->\n\nnew a\n\n<!-- end -->\nbetween\n"
        "<!-- results: b -->\n\nnew b\n\n<!-- end -->\nlast\n"
    )
    assert readme.regenerate(new, lambda name: f"new {name}\n") == new


@pytest.mark.parametrize(
    "page, block", [(PAGE.replace("<!-- end -->", "", 1), "a"), (PAGE.rsplit("<!-- end -->", 1)[0], "b")]
)
def test_a_block_without_end_is_an_error(page, block):
    with refused(DataError, f"'results: {block}'"):
        readme.regenerate(page, str)


def test_difference_names_the_lines():
    assert readme.difference("a\nb\n", "a\nb\n", "README.md") == ""
    diff = readme.difference("a\nb\n", "a\nc\n", "README.md")
    assert "-b\n" in diff
    assert "+c\n" in diff


def test_results_and_baselines_are_told_apart(tmp_path):
    result, of_split = run_directory.result(run_directory.predictions(["a", "b"], 8)), baseline("2", [5, 0])
    result.write(tmp_path / "net-seed0.json")
    (tmp_path / "baselines-split2.json").write_text(json.dumps([of_split.to_json()]))
    runs, baselines = readme.read_results(tmp_path)
    assert runs == {"net-seed0": result}
    assert baselines == [of_split]
    (tmp_path / "bad.json").write_text("{")
    with refused(DataError, "bad.json", "JSON"):
        readme.read_results(tmp_path)


def baseline(split, correct):
    return Baseline(
        baseline="majority class",
        dataset="ucf101",
        split=split,
        videos=10,
        failed_videos=0,
        video_top1=sum(correct) / 10,
        mean_class_accuracy=0.5,
        correct=sum(correct),
        per_class_correct=correct,
        per_class_videos=[5, 5],
    )


def test_baselines_are_pooled_over_splits():
    (row,) = readme.baseline_rows([baseline("2", [5, 0]), baseline("3", [0, 1])], ["model", "rate"])
    assert row.labels == {"model": "baseline: majority class", "rate": "-"}
    assert row.results[0].video_top1 == pytest.approx(6 / 20)
    assert row.results[0].videos == 20


def test_block_says_where_its_numbers_come_from():
    result = run_directory.result(run_directory.predictions(["a", "b"], 8), video_top1=0.5)
    rows = [ComparisonRow({"model": "net"}, [result], 1)]
    block = readme.experiment_block("Title", rows, [COLUMNS["video_top1"]], {"net-seed0": result})
    assert "| net | 50.0 | 1 |" in block
    assert "hardware: cpu, 2 cores" in block
    assert "code: 0123abc" in block
    averaged = dataclasses.replace(result, commit="0123abc, 4567def", members=[])
    both = readme.experiment_block("Title", rows, [COLUMNS["video_top1"]], {"a": result, "b": averaged})
    assert "code: 0123abc." in both, "the members of an ensemble are runs themselves"
    assert "No results yet" in readme.experiment_block(
        "Title", [ComparisonRow({"model": "net"}, [], 1)], [COLUMNS["model"]], {}
    )


def test_a_matrix_has_a_column_for_each_label_of_the_second_axis():
    def row(network, fusion, results, missing="missing"):
        return ComparisonRow({"network": network, "fusion": fusion}, results, 1, missing)

    result = run_directory.result(run_directory.predictions(["x", "y"], 10))
    rows = [row("a", "early", [result]), row("a", "late", []), row("b", "early", []), row("b", "late", [], "needs x")]
    lines = readme.matrix_block("Title", rows).splitlines()
    assert lines[0] == "**Title**" and lines[2] == "| network | early | late |"
    shown = COLUMNS["video_top1"].cell([result])
    assert lines[4].startswith(f"| a | {shown} (") and lines[4].endswith("| missing |")
    assert lines[5] == "| b | missing | needs x |"
    with refused(DataError, "3"):
        readme.matrix_block("Title", [dataclasses.replace(rows[0], labels={"a": "1", "b": "2", "c": "3"})])
