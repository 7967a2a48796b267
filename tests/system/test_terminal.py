import io
import itertools
import logging

import pandas as pd
import pytest
from rich.console import Console

from vidjax.system import terminal


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is told to move: clock[0] is the time in seconds."""
    now = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    return now


def test_say_prints_literally_and_unwrapped(capsys):
    text = "[red]a[/red] :smile: " + 50 * "word "
    terminal.say(text)
    assert capsys.readouterr().out == text + "\n"


def test_progress_in_a_log(clock, capsys):
    with terminal.Progress(100, first_step=50) as progress:
        for step in range(51, 101):
            clock[0] += 4
            values = (
                {"loss": 2.0, "top1": 0.25, "clips_per_second": 1234.5, "data_wait": 0.031} if step % 2 == 0 else {}
            )
            progress.update(step, **values)
            if step == 60:
                progress.note("validation: [loss] 1.5")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "step 54/100  loss 2  top-1 25.0%  1,234 clips/s  data wait 3%  ETA 3:04"
    assert "validation: [loss] 1.5" in lines
    assert lines[-1].startswith("step 100/100")
    assert lines[-1].endswith("ETA 0:00")
    steps = [int(line.split()[1].split("/")[0]) for line in lines if line.startswith("step")]
    assert all((b - a) * 4 >= terminal.LOG_SECONDS for a, b in itertools.pairwise(steps) if b != 100)


def test_a_silent_loop_still_says_something_each_minute(clock, capsys):
    with terminal.Progress(1000) as progress:
        for step in range(1, 131):
            clock[0] += 1
            progress.update(step)
    assert capsys.readouterr().out.splitlines() == ["step 60/1000  ETA 15:40", "step 120/1000  ETA 14:40"]


def test_a_log_has_no_control_characters(clock, capsys):
    with terminal.Progress(10) as progress:
        for step in range(1, 11):
            clock[0] += 20
            progress.update(step, loss=1.0)
    list(terminal.track(range(3), 3, "evaluating"))
    terminal.table(pd.DataFrame({"a": ["b"]}))
    out = capsys.readouterr().out
    assert out.isprintable() or all(c == "\n" or c.isprintable() for c in out)


def test_progress_in_a_terminal(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(
        terminal,
        "_console",
        lambda: Console(file=screen, force_terminal=True, width=100, markup=False, highlight=False),
    )
    with terminal.Progress(200, 100) as progress:
        progress.update(150, loss=0.5, top1=0.75, clips_per_second=800.0, data_wait=0.1)
        progress.update(151)
        progress.note("a [note]")
    shown = screen.getvalue()
    assert "151/200" in shown
    assert "loss 0.5  top-1 75.0%  800 clips/s  data wait 10%" in shown
    assert "a [note]" in shown
    assert "ETA" in shown


def test_track_yields_everything_and_reports(clock, capsys):
    def slow():
        for i in range(5):
            clock[0] += 6
            yield i

    assert list(terminal.track(slow(), 5, "evaluating")) == [0, 1, 2, 3, 4]
    assert capsys.readouterr().out.splitlines() == [
        "evaluating: 2/5, ETA 0:18",
        "evaluating: 4/5, ETA 0:06",
        "evaluating: 5 done in 0:30",
    ]


WIDE = {f"column {i}": [f"{i}.{row}" + 10 * "x" for row in range(5)] for i in range(12)}


def test_a_wide_row_is_transposed(capsys):
    terminal.table(pd.DataFrame(WIDE).iloc[:1])
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 12
    assert lines[0].split() == ["column", "0", "0.0xxxxxxxxxx"]


def test_a_wide_table_is_split_and_loses_nothing(capsys):
    terminal.table(pd.DataFrame(WIDE))
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= terminal.LOG_WIDTH
    for cells in WIDE.values():
        assert all(cell in out for cell in cells)
    assert out.count("\n0.3xxxxxxxxxx") == 2, "each block begins with the first column"


def test_each_block_of_a_wide_table_begins_with_all_that_tells_rows_apart(capsys):
    axes = {"model": ["net", "net", "other", "other"], "optimizer": ["adamw", "muon", "adamw", "muon"]}
    numbers = {f"column {i}": [f"{i}.{row}" + 10 * "x" for row in range(4)] for i in range(12)}
    terminal.table(pd.DataFrame({**axes, **numbers}), keys=2)
    lines = [line for line in capsys.readouterr().out.splitlines() if line and not line.startswith("-")]
    assert max(map(len, lines)) <= terminal.LOG_WIDTH
    assert [line.split()[:2] for line in lines] == 2 * [["model", "optimizer"], *map(list, zip(*axes.values()))]
    shown = [cell for line in lines for cell in line.split()[2:] if cell.endswith("x")]
    assert sorted(shown) == sorted(cell for cells in numbers.values() for cell in cells), (
        "nothing else twice, nothing lost"
    )


def test_keys_that_leave_no_room_still_tell_rows_apart(capsys):
    terminal.table(pd.DataFrame({"key": [str(i) + 120 * "k" for i in range(5)], "a": [*"abcde"], "b": [*"fghij"]}))
    lines = capsys.readouterr().out.splitlines()
    assert sum("0" + 120 * "k" in line for line in lines) == 2


def test_a_narrow_table_is_one_block(capsys):
    cells = {"name": ["a", "[b]", "c"], "top-1": ["9.5", "10.0", "-"]}
    terminal.table(pd.DataFrame(cells), title="T")
    assert capsys.readouterr().out.splitlines() == [
        "T",
        "",
        "name  top-1",
        "----  -----",
        "a       9.5",
        "[b]    10.0",
        "c         -",
        "",
    ]


def test_parameter_overview_has_totals(capsys):
    terminal.parameter_overview([("conv1", (24, 24, 24), 3000, 200_000), ("head", (8,), 100, 100)])
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-1].split() == ["total", "3,100", "200,100"]
    assert lines[2].split() == ["conv1", "(24,", "24,", "24)", "3,000", "200,000"]


@pytest.mark.parametrize("stderr", [False, True])
def test_warnings_are_shown_though_the_root_logger_is_quiet(capsys, stderr):
    root, ours = logging.getLogger(), logging.getLogger("vidjax")
    before = (root.level, ours.level, list(ours.handlers), ours.propagate)
    try:
        root.setLevel(logging.ERROR)  # as launch.py does
        ours.handlers.clear()
        terminal.show_warnings(stderr=stderr)
        logging.getLogger("vidjax.data.cache.memory").warning("the memory cache is full")
        shown = ["warning: the memory cache is full\n", ""]
        assert list(capsys.readouterr()) == (shown[::-1] if stderr else shown), "out, err"
    finally:
        root.setLevel(before[0])
        ours.setLevel(before[1])
        ours.handlers[:], ours.propagate = before[2], before[3]
