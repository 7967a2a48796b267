import pandas as pd
import pytest

from tests.refusals import unnamed
from tests.reporting import run_directory
from vidjax.reporting import tables
from vidjax.system import terminal


def row(**changes):
    return tables.result_row(run_directory.result(run_directory.predictions(["a", "b"], 8), **changes)).iloc[0]


def test_result_row_has_every_column_of_a_paper_table():
    shown = row(clip_top1=0.9534, video_top1=0.9867, video_top5=1.0, mean_class_accuracy=0.98666, classes=[*"abcdef"])
    assert shown["parameters"] == "1,234,567"
    assert shown["GMACs/view"] == "0.042 @ 10x48x48"
    assert shown["views"] == "2 clips x 1 crop"
    assert shown["clip top-1 %"] == "95.3"
    assert shown["video top-1 %"] == "98.7"
    assert shown["video top-5 %"] == "100.0"
    assert shown["mean class acc. %"] == "98.7"
    assert shown["wall time"] == "2:23"
    assert shown["videos"] == "8"


def test_top5_of_five_classes_or_fewer_says_nothing_and_is_not_shown():
    for k, shown, tokens in ((5, "-", (5, "100%")), (6, "93.8", None)):
        result = run_directory.result(
            run_directory.predictions(list("abcdefgh"[:k]), 16), video_top5=1.0 if k == 5 else 0.9375
        )
        assert tables.result_row(result).iloc[0]["video top-5 %"] == shown
        note = tables.top5_note(result)
        assert note == "" if tokens is None else not unnamed(note, *tokens)


@pytest.mark.parametrize(
    "split, text",
    [
        ("hash, seed 0", "by hash, data seed 0"),
        ("official, validation by hash, seed 3", "official, validation by hash, data seed 3"),
        ("standard", "standard"),
        (2, "2"),
    ],
)
def test_the_seed_of_a_split_is_not_taken_for_that_of_the_run(split, text):
    assert tables.split_name(split) == text
    assert row(split=split)["split"] == text


def test_what_an_ensemble_does_not_have_is_a_dash():
    assert row(clip_top1=None)["clip top-1 %"] == "-"


def test_failed_videos_are_shown():
    assert row(videos=298, failed_videos=2)["videos"] == "298 (2 failed)"


@pytest.mark.parametrize(
    "seconds, text", [(0.4, "0:00"), (59.6, "1:00"), (143, "2:23"), (3599.7, "1:00:00"), (7384, "2:03:04")]
)
def test_duration(seconds, text):
    assert terminal.duration(seconds) == text


@pytest.mark.parametrize("value, text", [(0.000012, "0.000012"), (0.0421, "0.042"), (3.14159, "3.14"), (65.44, "65.4")])
def test_gmacs(value, text):
    assert tables.gmacs(value) == text


def test_markdown_escapes_and_aligns():
    table = pd.DataFrame({"name": ["a|b", "<script>"], "top-1 %": ["1.0 ± 0.1", "-"]})
    assert tables.to_markdown(table) == (
        "| name | top-1 % |\n| :-- | --: |\n| a\\|b | 1.0 ± 0.1 |\n| &lt;script> | - |\n"
    )


def test_csv_has_no_index():
    assert tables.to_csv(pd.DataFrame({"a": [1], "b": ["x,y"]})) == 'a,b\n1,"x,y"\n'
