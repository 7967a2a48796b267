import dataclasses
import statistics

import pytest

from tests.refusals import refused
from tests.reporting import run_directory
from vidjax.errors import DataError
from vidjax.evaluation.result import Baseline, Groups
from vidjax.evaluation.statistics import bootstrap_interval
from vidjax.reporting import comparison
from vidjax.reporting.comparison import COLUMNS, Column, ComparisonRow


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
            result([1, 8], [2, 8], split="2", clip_top1=0.5, video_top5=1.0, seconds=10.0, feature_seconds=7.0),
            result(
                [0, 2],
                [28, 2],
                split="3",
                clip_top1=0.1,
                video_top5=0.5,
                seconds=20.0,
                failed_videos=1,
                feature_seconds=7.5,
            ),
        ]
    )
    assert pooled.split == "2+3"
    assert pooled.videos == 40
    assert pooled.video_top1 == pytest.approx(11 / 40), "not the mean of the two shares"
    assert pooled.mean_class_accuracy == pytest.approx((1 / 30 + 1) / 2)
    assert pooled.clip_top1 == pytest.approx((10 * 0.5 + 30 * 0.1) / 40)
    assert pooled.video_top5 == pytest.approx((10 * 1.0 + 30 * 0.5) / 40)
    assert pooled.seconds == 30.0 and pooled.feature_seconds == 7.5, "the splits have the same videos"
    assert pooled.failed_videos == 1


def test_a_class_without_videos_does_not_count():
    pooled = comparison.pool([result([1, 0], [2, 0]), result([2, 0], [2, 0])])
    assert pooled.mean_class_accuracy == pytest.approx(0.75)


def test_splits_of_different_classes_cannot_be_pooled():
    with refused(DataError, "early_fusion"):
        comparison.pool([result([1, 1], [2, 2]), result([1, 1], [2, 2], classes=["a", "c"])])


def test_top5_of_five_classes_or_fewer_is_a_dash():
    few, many = result([1, 1], [2, 2]), result([1, 1], [2, 2], classes=[*"abcdef"], video_top5=0.75)
    rows = [ComparisonRow({"model": "few"}, [few]), ComparisonRow({"model": "many"}, [many])]
    assert list(comparison.table(rows, [COLUMNS["video_top5"]])["video top-5 %"]) == ["-", "75.0"]


def test_table_of_seeds():
    columns = [COLUMNS["video_top1"], COLUMNS["seconds"], COLUMNS["parameters"]]
    columns.append(Column("half", lambda r: r.video_top1 >= 0.5, "flag"))
    seeds = [result([c, c], [10, 10], seconds=60.0 * c) for c in (4, 5, 9)]
    rows = [
        ComparisonRow({"model": "net"}, seeds, 3),
        ComparisonRow({"model": "none"}, [], 3),
        ComparisonRow({"model": "one"}, seeds[:1], 3),
    ]
    table = comparison.table(rows, columns)
    assert list(table.iloc[0]) == ["net", "60.0 ± 26.5", "6:00", "1,234,567", "2 of 3", "3"]
    assert list(table.iloc[1]) == ["none", "missing", "missing", "missing", "missing", "0 of 3"]
    assert list(table.iloc[2]) == ["one", "40.0", "4:00", "1,234,567", "0 of 1", "1 of 3"]


def test_numbers_are_exact():
    seeds = [result([c, c], [10, 10]) for c in (4, 5, 9)]
    line = comparison.numbers([ComparisonRow({"model": "net"}, seeds, 3)], [COLUMNS["video_top1"]]).iloc[0]
    assert line["video top-1 (mean)"] == pytest.approx(0.6)
    assert line["video top-1 (sd)"] == pytest.approx(statistics.stdev([0.4, 0.5, 0.9]))


def grouped(correct, videos=(1, 2, 3), label=(0, 0, 1), **changes):
    groups = {"label": list(label), "videos": list(videos), "correct": list(correct)}
    per_class = [[sum(n for n, k in zip(column, label) if k == c) for c in (0, 1)] for column in (correct, videos)]
    return result(*per_class, groups=groups, **changes)


def interval(*seeds):
    return comparison.top1_interval(seeds)


def test_interval_is_about_videos_not_seeds():
    # Two seeds that are right on opposite videos: one half each, in every draw.
    assert interval(grouped([1, 0, 3]), grouped([0, 2, 0])) == (0.5, 0.5)
    assert interval(grouped([1, 0, 3])) == bootstrap_interval([1, 0, 3], [1, 2, 3])
    assert interval(grouped([1, 2, 3]), grouped([1, 2, 3])) == (1.0, 1.0)


def test_seeds_of_equal_counts_but_other_groups_have_no_interval():
    groups = [dataclasses.replace(grouped([1, 0, 3]).groups, digest=[digest]) for digest in ("a", "b")]
    seeds = [dataclasses.replace(grouped([1, 0, 3]), groups=of_seed) for of_seed in groups]
    assert interval(seeds[0], seeds[0], grouped([1, 0, 3])) == interval(grouped([1, 0, 3]))
    with refused(DataError, "early_fusion"):
        interval(*seeds)


def test_interval_of_pooled_splits_has_the_groups_of_both():
    pooled = comparison.pool([grouped([1, 0, 3], split="2"), grouped([0, 1], (2, 1), (0, 1), split="3")])
    assert pooled.groups == Groups(label=[0, 0, 1, 0, 1], videos=[1, 2, 3, 2, 1], correct=[1, 0, 3, 0, 1])
    assert interval(pooled) == bootstrap_interval([1, 0, 3, 0, 1], [1, 2, 3, 2, 1])
    old = result([1, 0], [2, 2])
    assert comparison.pool([grouped([1, 0, 3]), old]).groups is None
    assert comparison.pool([old, grouped([1, 0, 3])]).groups is None


@pytest.mark.parametrize("other", [grouped([1, 0], (3, 3), (0, 1)), grouped([0, 0, 1], label=(0, 1, 1))])
def test_seeds_that_were_tested_on_other_groups_have_no_interval(other):
    with refused(DataError, "early_fusion"):
        interval(grouped([1, 0, 3]), other)


def test_interval_column():
    column = COLUMNS["video_top1_interval"]
    rows = [
        ComparisonRow({"model": "net"}, [grouped([1, 0, 3]), grouped([0, 2, 0])], 2),
        ComparisonRow({"model": "old"}, [grouped([1, 0, 3]), result([1, 1], [3, 3])], 2),
        ComparisonRow({"model": "none"}, [], 2),
    ]
    assert list(comparison.table(rows, [column])["95% interval"]) == ["50.0 to 50.0", "-", "missing"]
    numbers = comparison.numbers(rows, [column])
    assert list(numbers.iloc[0][["95% interval (low)", "95% interval (high)"]]) == [0.5, 0.5]
    assert numbers.iloc[1:]["95% interval (low)"].isna().all()


def test_an_ensemble_has_no_clip_accuracy():
    pooled = comparison.pool([result([1, 1], [2, 2], clip_top1=None), result([1, 1], [2, 2], clip_top1=None)])
    row = ComparisonRow({"model": "average"}, [pooled], 1)
    assert list(comparison.table([row], [COLUMNS["clip_top1"], COLUMNS["video_top1"]]).iloc[0])[1:3] == ["-", "50.0"]


def test_what_a_row_does_not_have_is_a_dash():
    baseline = Baseline(
        baseline="majority class",
        dataset="toy",
        split="1",
        videos=10,
        failed_videos=0,
        correct=2,
        video_top1=0.2,
        mean_class_accuracy=0.2,
        per_class_videos=[5, 5],
        per_class_correct=[2, 0],
    )
    row = ComparisonRow({"model": "baseline"}, [baseline], seeds=None)
    table = comparison.table(
        [row], [COLUMNS[name] for name in ("parameters", "gmacs", "videos", "video_top1", "seconds")]
    )
    assert list(table.iloc[0]) == ["baseline", "-", "-", "10", "20.0", "-", "-"]
