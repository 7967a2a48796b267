"""`benchmarks.compare`."""

import argparse
import json
import shutil

import pandas as pd
import pytest

from benchmarks import compare, report
from tests.conftest import ROOT
from tests.refusals import unnamed


def write(path, samples):
    report.write(path, {"t": pd.DataFrame()}, samples, about="a test")
    return str(path)


def step(path, **changes):
    """Three rounds of vidjax and torch eager; `changes`: implementation_key=factor."""

    def rounds(name, start):
        of = {"wall_ms": 100.0, "cpu_ms": 190.0, "first_step_s": 5.0, "compile_s": 4.0, "peak_mb": 500.0}
        of = {key: value * changes.get(f"{name}_{key}", 1) for key, value in of.items()}
        return [{**of, "wall_ms": [of["wall_ms"] * noise] * 3} for noise in (1.0, 0.98, 1.02)]

    samples = {name: {start: rounds(name, start) for start in ("cold", "warm")} for name in ("vidjax", "torch_eager")}
    return write(path, {"train_step": {"lstm": samples}})


@pytest.mark.parametrize(
    "changes, status, words",
    [
        ({}, 0, ["none of 14 quantities changed"]),
        ({"vidjax_wall_ms": 1.03}, 0, ["none of"]),
        ({"vidjax_wall_ms": 1.1}, 1, ["slower", "1.100", "1 of 14"]),
        ({"vidjax_wall_ms": 0.9}, 0, ["faster"]),
        ({"torch_eager_wall_ms": 1.1}, 0, ["slower", "not in vidjax"]),
        ({"vidjax_peak_mb": 1.1}, 0, ["more"]),
        ({"vidjax_first_step_s": 1.02}, 0, ["none of"]),
    ],
)
def test_what_changed_beyond_noise(tmp_path, capsys, changes, status, words):
    files = step(tmp_path / "old.json"), step(tmp_path / "new.json", **changes)
    assert compare.main([*files, "--fail-slower"]) == status
    said = capsys.readouterr().out
    assert all(word in said for word in words)
    assert compare.main(list(files)) == 0


def test_ranges_that_overlap_are_noise():
    verdict = lambda *pair: compare.verdict(*(compare.from_rounds("ms", values, True) for values in pair))  # noqa: E731
    assert verdict([10, 11, 12], [12, 13, 14]) == ""
    assert verdict([10, 11, 12], [12.1, 13, 14]) == "slower"
    assert verdict([10.0, 10.1], [10.2, 10.3]) == ""
    assert verdict([10.0], [12.0]) == ""  # of one round, no noise is known
    rates = [compare.from_rounds("clips/s", [value] * 2, True) for value in (10, 12)]
    assert compare.verdict(*rates) == "faster"


def test_the_interval_of_a_median():
    """Of 100 measurements the 41st to the 60th (Conover 1999, table A3, by its normal approximation)."""
    quantity = compare.from_single_samples("ms", range(1, 101), True)
    assert (quantity.low, quantity.median, quantity.high) == (41, 50.5, 60)
    assert compare.from_single_samples("ms", [3.0, 1.0], True)[1:4] == (2.0, 1.0, 3.0)


def test_the_committed_input_benchmark_can_be_compared(tmp_path, capsys):
    old, new = ROOT / "results" / "benchmarks" / "input.json", tmp_path / "new.json"
    shutil.copy(old, new)
    assert compare.main([str(old), str(new), "--fail-slower"]) == 0
    content = json.loads(new.read_text())
    for setting in content["samples"]["pipeline"]:
        setting["rates"] = [(rate / 3, bare) for rate, bare in setting["rates"]]
    new.write_text(json.dumps(content))
    assert compare.main([str(old), str(new), "--fail-slower"]) == 1
    assert "through Grain" in capsys.readouterr().out


def test_convolutions_can_be_compared(tmp_path, capsys):
    def of(ms):
        return {"convolutions": {"3x3": {"vidjax": [{"forward": {"wall_ms": [ms, ms], "cpu_ms": ms}}] * 2}}}

    files = write(tmp_path / "old.json", of(1.0)), write(tmp_path / "new.json", of(2.0))
    assert compare.main([*files, "--fail-slower", "--all"]) == 1
    assert "forward, CPU" in capsys.readouterr().out


def test_what_cannot_be_compared_is_told_in_one_line(tmp_path, capsys):
    good, conv = step(tmp_path / "good.json"), write(tmp_path / "c.json", {"convolutions": {}})
    (tmp_path / "text.json").write_text("no")
    (tmp_path / "list.json").write_text("[]")
    tiny = json.loads((tmp_path / "good.json").read_text()) | {"tiny": True}
    (tmp_path / "tiny.json").write_text(json.dumps(tiny))
    write(tmp_path / "broken.json", {"train_step": {"lstm": 3}})
    for other, tokens in [
        ("absent.json", ()),
        ("text.json", ("JSON",)),
        ("tiny.json", ("--tiny",)),
        ("list.json", ()),
        ("broken.json", ()),
        ("c.json", ("train_step", "convolutions")),
    ]:
        assert compare.main([good, str(tmp_path / other)]) == 2
        said = capsys.readouterr().err
        assert not unnamed(said, *tokens) and said.count("\n") == 1 and said.startswith("error: ")
    assert compare.main([conv, conv]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("error: ")


def test_a_result_that_cannot_be_written_is_told_before_measuring(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit):
        report.check_writable(argparse.ArgumentParser(), tmp_path / "file" / "out.json")
    assert "--out=" in capsys.readouterr().err
    report.check_writable(argparse.ArgumentParser(), tmp_path / "new" / "out.json")
    assert not (tmp_path / "new" / "out.json").exists()
