import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from tests.refusals import refused, unnamed
from tests.reporting import run_directory
from vidjax.errors import DataError
from vidjax.reporting import report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]
HOSTILE = ["<script>document.title='hacked'</script>", '"><img src=x onerror=alert(1)>', "a & b", "$x_1$", "{{ 7*7 }}"]
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium installed")


def browse(page, tmp_path, *options):
    """Opens a page in a browser with an empty profile; returns what it printed."""
    command = [BROWSER, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_report_shows_the_run(tmp_path):
    page = report.write(run_directory.write(tmp_path / "run", failed=[{"id": "x/y", "reason": "moov atom not found"}]))
    text = page.read_text()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert f"{100 * result['video_top1']:.1f}" in text
    assert "0.042 @ 10x48x48" in text
    assert "moov atom not found" in text
    assert "jax 0.10.2" in text and "i3d-kinetics400" in text
    assert text.count("data:image/webp;base64,") == 12
    assert text.count("<div><small>") == len(run_directory.CLASSES)
    assert text.count("<svg") == 4


def test_report_shows_explained_mistakes(tmp_path):
    folder = run_directory.write(tmp_path / "run")
    assert "explained" not in report.write(folder).read_text().partition("</style>")[2]
    index = json.loads((folder / "samples" / "index.json").read_text())
    index["explanations"] = [{"label": "a, in fact <b>", "file": index["clips"][0]["file"]}]
    (folder / "samples" / "index.json").write_text(json.dumps(index))
    shown = report.write(folder).read_text().partition("clips explained")[2]
    assert "a, in fact &lt;b&gt;" in shown and "data:image/webp;base64," in shown.partition("</figure>")[0]


def test_report_says_how_far_the_accuracy_can_be_trusted(tmp_path):
    folder = run_directory.write(tmp_path / "run", ["a", "b"], videos=8)
    result = json.loads((folder / "result.json").read_text()) | {
        "per_class_correct": [4, 0],
        "per_class_videos": [4, 4],
    }
    alone = {"label": [0] * 4 + [1] * 4, "videos": [1] * 8, "correct": [1] * 4 + [0] * 4}
    for groups in ({}, {"groups": alone}):
        (folder / "result.json").write_text(json.dumps(result | groups))
        text = report.write(folder).read_text()
        # Wilson: (0.5 ± 1.96 / (2 sqrt(8)) * sqrt(8 / (8 + 1.96^2))), by hand.
        assert not unnamed(text, "21.5% to 78.5%", "Wilson")
    (folder / "result.json").write_text(
        json.dumps(result | {"groups": {"label": [0, 1], "videos": [4, 4], "correct": [4, 0]}})
    )
    text = report.write(folder).read_text()
    assert not unnamed(text, "0.0% to 100.0%", "bootstrap")


def test_the_seed_of_the_data_is_not_taken_for_that_of_the_run(tmp_path):
    folder = run_directory.write(tmp_path / "run")
    result = json.loads((folder / "result.json").read_text()) | {"split": "hash, seed 0"}
    (folder / "result.json").write_text(json.dumps(result))
    assert "split by hash, data seed 0; run seed 0; 1000 steps" in report.write(folder).read_text()


def test_top5_of_few_classes_is_not_shown_as_a_result(tmp_path):
    text = report.write(run_directory.write(tmp_path / "run", ["a", "b", "c"])).read_text()
    heads, cells = (re.findall(rf"<{tag}>(.*?)</{tag}>", text.split("<h2>Result</h2>")[1]) for tag in ("th", "td"))
    assert cells[heads.index("video top-5 %")] == "-"
    assert "<span>video top-5</span>" not in text


def test_report_says_that_a_run_overfits(tmp_path):
    folder = run_directory.write(tmp_path / "run")
    assert "overfits" not in report.write(folder).read_text()
    lines = [{"step": step, "split": "train", "loss": 100 / step} for step in range(50, 350, 50)]
    lines += [
        {"step": 100 * i, "split": "validation", "loss": loss, "clip_top1": 0.5, "video_top1": 0.5}
        for i, loss in ((1, 1.2), (2, 1.7), (3, 1.77))
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert not unnamed(report.write(folder).read_text(), "1.2", "1.77", "config.train.early_stopping_patience=")


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    folder = run_directory.write(tmp_path / "run")
    before = report.write(folder).read_bytes()

    def killed(path, content):
        with path.open("wb") as file:
            file.write(content[:1000])
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.write_bytes", killed)
    monkeypatch.setattr("pathlib.Path.write_text", lambda path, text, **options: killed(path, text.encode()))
    with pytest.raises(KeyboardInterrupt):
        report.write(folder)
    assert (folder / "report.html").read_bytes() == before


def test_report_loads_nothing(tmp_path):
    text = report.write(run_directory.write(tmp_path / "run")).read_text()
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*""", text) == []
    assert "<script" not in text
    assert "url(http" not in text
    assert "@import" not in text


def test_wrong_predictions_come_first_the_surest_before(tmp_path):
    text = report.write(run_directory.write(tmp_path / "run")).read_text()
    cards = text.split("<figure")[1:]
    right = ['<b class="good">' in card for card in cards]
    surest = [float(re.search(r'<i style="width: ([\d.]+)%">', card)[1]) for card in cards]
    wrong = right.count(False)
    assert wrong >= 2, "the fake run has wrong sample clips"
    assert right == sorted(right)
    assert surest[:wrong] == sorted(surest[:wrong], reverse=True)
    assert surest[wrong:] == sorted(surest[wrong:])


def test_hostile_names_stay_text(tmp_path):
    text = report.write(run_directory.write(tmp_path / "run", classes=HOSTILE, videos=20)).read_text()
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "49" not in re.findall(r"<td>(.*?)</td>", text)


def test_optional_files_may_be_missing(tmp_path):
    folder = run_directory.write(tmp_path / "run", samples=False, metrics=False)
    shutil.rmtree(folder / "predictions")
    (folder / "config.json").unlink()
    text = report.write(folder).read_text()
    assert "No metrics.jsonl" in text
    assert "No predictions/test.json" in text
    assert "Contact sheet" not in text
    assert "<svg" in text, "class accuracies come from result.json"


def test_a_class_without_videos_and_a_missing_picture(tmp_path):
    folder = run_directory.write(tmp_path / "run", videos=7)  # the eighth class has none
    (folder / "samples" / "clips" / "0.webp").unlink()
    text = report.write(folder).read_text()
    assert "no videos" in text
    assert text.count("data:image/webp") == 6


def test_pictures_outside_of_the_run_are_not_shown(tmp_path):
    folder = run_directory.write(tmp_path / "run")
    Image.new("RGB", (2, 2)).save(tmp_path / "secret.png")
    index = {"contact": [{"label": "a", "file": "../../secret.png"}], "clips": []}
    (folder / "samples" / "index.json").write_text(json.dumps(index))
    text = report.write(folder).read_text()
    assert 'src="data:image' not in text


def test_an_unfinished_run_is_an_error(tmp_path):
    with refused(DataError, tmp_path, "result.json"):
        report.write(tmp_path)


def test_a_missing_key_is_named(tmp_path):
    folder = run_directory.write(tmp_path / "run")
    result = json.loads((folder / "result.json").read_text())
    del result["video_top5"]
    (folder / "result.json").write_text(json.dumps(result))
    with refused(DataError, "run/result.json", "'video_top5'"):
        report.write(folder)


@needs_browser
def test_a_browser_reads_hostile_names_as_text(tmp_path):
    page = report.write(run_directory.write(tmp_path / "run", classes=HOSTILE, videos=20))
    dom = browse(page, tmp_path, "--dump-dom")
    assert "<title>early_fusion on motion</title>" in dom
    assert "<script" not in dom
    assert "onerror" not in re.sub(r"&lt;img.*?&gt;", "", dom)
    assert "a &amp; b" in dom
    assert dom.rstrip().endswith("</html>")


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_paints_it_light_and_dark(tmp_path, scheme):
    page = report.write(run_directory.write(tmp_path / "run"))
    shot = tmp_path / "page.png"
    setting = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    browse(page, tmp_path, *setting, "--window-size=800,900", f"--screenshot={shot}")
    pixels = np.asarray(Image.open(shot).convert("L"))
    corner = int(pixels[2, 2])
    assert corner < 60 if scheme == "dark" else corner > 240
    # Text must stand out from the page: some pixels of the other end of the scale.
    assert pixels.max() > 200 if scheme == "dark" else pixels.min() < 60
