import statistics

import pytest

from tests.reporting import run_directory
from vidjax.errors import DataError
from vidjax.reporting import comparison
from vidjax.reporting.comparison import COLUMNS, Column, Row


def result(correct, videos, **changes):
    shares = [c / n for c, n in zip(correct, videos) if n]
    return run_directory.result(
        run_directory.predictions(["a", "b"], 4),
        per_class_correct=correct,
        per_class_videos=videos,
        videos=sum(videos),
        video_top1=sum(correct) / sum(videos),
        mean_class_accuracy=statistics.fmean(shares),
        **changes,
    )


def test_pooling_sums_counts():
    pooled = comparison.pool(
        [
            result([1, 8], [2, 8], split="2", clip_top1=0.5, video_top5=1.0, seconds=10.0),
            result([0, 2], [28, 2], split="3", clip_top1=0.1, video_top5=0.5, seconds=20.0, failed_videos=1),
        ]
    )
    assert pooled["split"] == "2+3"
    assert pooled["videos"] == 40
    assert pooled["video_top1"] == pytest.approx(11 / 40), "not the mean of the two shares"
    assert pooled["mean_class_accuracy"] == pytest.approx((1 / 30 + 1) / 2)
    assert pooled["clip_top1"] == pytest.approx((10 * 0.5 + 30 * 0.1) / 40)
    assert pooled["video_top5"] == pytest.approx((10 * 1.0 + 30 * 0.5) / 40)
    assert pooled["seconds"] == 30.0
    assert pooled["failed_videos"] == 1


def test_a_class_without_videos_does_not_count():
    pooled = comparison.pool([result([1, 0], [2, 0]), result([2, 0], [2, 0])])
    assert pooled["mean_class_accuracy"] == pytest.approx(0.75)


def test_splits_of_different_classes_cannot_be_pooled():
    with pytest.raises(DataError, match="different classes"):
        comparison.pool([result([1, 1], [2, 2]), {**result([1, 1], [2, 2]), "classes": ["a", "c"]}])


def test_table_of_seeds():
    columns = [COLUMNS["video_top1"], COLUMNS["seconds"], COLUMNS["parameters"]]
    columns.append(Column("half", lambda r: r["video_top1"] >= 0.5, "flag"))
    seeds = [result([c, c], [10, 10], seconds=60.0 * c) for c in (4, 5, 9)]
    rows = [Row({"model": "net"}, seeds, 3), Row({"model": "none"}, [], 3), Row({"model": "one"}, seeds[:1], 3)]
    table = comparison.table(rows, columns)
    assert list(table.iloc[0]) == ["net", "60.0 ± 26.5", "6:00", "1,234,567", "2 of 3", "3"]
    assert list(table.iloc[1]) == ["none", "missing", "missing", "missing", "missing", "0 of 3"]
    assert list(table.iloc[2]) == ["one", "40.0", "4:00", "1,234,567", "0 of 1", "1 of 3"]


def test_numbers_are_exact():
    seeds = [result([c, c], [10, 10]) for c in (4, 5, 9)]
    line = comparison.numbers([Row({"model": "net"}, seeds, 3)], [COLUMNS["video_top1"]]).iloc[0]
    assert line["video top-1 (mean)"] == pytest.approx(0.6)
    assert line["video top-1 (sd)"] == pytest.approx(statistics.stdev([0.4, 0.5, 0.9]))


def test_what_a_row_does_not_have_is_a_dash():
    baseline = {"baseline": "majority class", "video_top1": 0.2, "videos": 10}
    row = Row({"model": "baseline"}, [baseline], seeds=None)
    table = comparison.table(
        [row], [COLUMNS[name] for name in ("parameters", "gmacs", "videos", "video_top1", "seconds")]
    )
    assert list(table.iloc[0]) == ["baseline", "-", "-", "10", "20.0", "-", "-"]
