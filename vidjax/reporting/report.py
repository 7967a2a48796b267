"""The HTML report of a run: one self-contained page, made only from the files of the run directory."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vidjax.errors import DataError
from vidjax.evaluation import metrics as accuracies
from vidjax.evaluation.predictions import PredictionsFile, VideoPrediction
from vidjax.evaluation.result import Result
from vidjax.evaluation.statistics import LEVEL, bootstrap_interval, wilson_interval
from vidjax.reporting import figures, tables
from vidjax.reporting.learning_curves import overfitting_note
from vidjax.system import files
from vidjax.training import metrics_line

_MIME = {".png": "image/png", ".webp": "image/webp"}
_SMALL_BYTES = 40_000  # smaller animations are magnified without smoothing
_TOP = 3
_CONFUSIONS = 15


def _read_optional(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error


def _data_uri(samples: Path, file: str) -> str:
    """The file as a `data:` URI, or "" if it is missing, not a known image type, or outside of `samples`."""
    path = samples / file
    mime = _MIME.get(path.suffix)
    if mime is None or not path.is_file() or not path.resolve().is_relative_to(samples.resolve()):
        return ""
    return f"data:{mime};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _prediction(video: VideoPrediction, classes: Sequence[str]) -> dict[str, Any]:
    scores = np.asarray(video.scores)
    order = np.argsort(-scores, kind="stable")
    label = video.label
    top = [(classes[k], f"{100 * scores[k]:.1f}", bool(k == label)) for k in order[:_TOP]]
    return {"label": classes[label], "right": bool(order[0] == label), "top": top, "score": float(scores[order[0]])}


def _clips(samples: Path, index: dict[str, Any], predictions: PredictionsFile | None) -> list[dict[str, Any]]:
    """Sample clips with their predictions: most confident mistakes first, then correct ones, least confident first."""
    videos = {video.id: video for video in predictions.videos} if predictions else {}
    clips = []
    for entry in index.get("clips", []):
        image = _data_uri(samples, entry["file"])
        if not image:
            continue
        clip = {"id": entry["id"], "image": image, "small": len(image) < _SMALL_BYTES, "right": True, "score": 2.0}
        video = videos.get(entry["id"])
        clip |= _prediction(video, predictions.classes) if predictions and video else {"label": "", "top": []}
        clips.append(clip)
    return sorted(clips, key=lambda clip: (clip["right"], clip["score"] if clip["right"] else -clip["score"]))


def _labeled(samples: Path, entries: list[dict[str, str]]) -> list[dict[str, str]]:
    strips = [{"label": entry["label"], "image": _data_uri(samples, entry["file"])} for entry in entries]
    return [strip for strip in strips if strip["image"]]


def _confusion(predictions: PredictionsFile) -> tuple[Markup, list[tuple[str, str, int]]]:
    classes, counts = predictions.classes, accuracies.confusion_matrix(predictions)
    wrong = counts - np.diag(np.diag(counts))
    pairs = sorted(np.argwhere(wrong), key=lambda pair: -wrong[tuple(pair)])[:_CONFUSIONS]
    confusions = [(classes[row], classes[column], int(wrong[row, column])) for row, column in pairs]
    return _inline(figures.confusion_matrix(counts, classes)), confusions


def _inline(svg: bytes) -> Markup:
    # matplotlib escapes all text that it writes into an SVG.
    return Markup(svg.decode("utf-8"))


def _provenance(result: Result, predictions: PredictionsFile | None) -> list[tuple[str, str]]:
    rows = [
        ("command", result.command),
        ("hardware", result.hardware),
        ("commit", result.commit),
        ("config hash", result.config_hash),
        ("versions", ", ".join(f"{name} {version}" for name, version in (result.versions or {}).items())),
        ("date", result.date),
        ("parallelism", result.parallel),
        ("training began from", result.initial_weights),
        ("data", "; ".join(result.data_notes or [])),
        ("replaced videos", _replaced(result)),
        ("scores", _scores(result, predictions)),
    ]
    return [(name, str(value)) for name, value in rows if value]


def _scores(result: Result, predictions: PredictionsFile | None) -> str:
    if predictions is None:
        return ""
    if result.members and result.members[0].weight is None:
        return f"{predictions.average}, on those of the members"
    return f"average of {predictions.average} over the views of a video"


def _replaced(result: Result) -> str:
    count = result.replaced_train_videos
    return f"{count} training videos could not be read and were replaced by others" if count else ""


def _headline(result: Result) -> list[tuple[str, str]]:
    """Accuracies in percent, if they are informative; chance is that of uniform guessing."""
    shown = {
        "video top-1": result.video_top1,
        "video top-5": tables.top5(result),
        "clip top-1": result.clip_top1,
        "mean class accuracy": result.mean_class_accuracy,
        "chance": 1 / len(result.classes),
    }
    return [(name, tables.percent(value)) for name, value in shown.items() if value is not None]


def confidence_interval(result: Result) -> str:
    """A sentence with the confidence interval of video top-1; "" if no video was tested."""
    correct, videos = sum(result.per_class_correct), sum(result.per_class_videos)
    if not videos:
        return ""
    groups = result.groups
    if groups is not None and len(groups.videos) < videos:
        low, high = bootstrap_interval(groups.correct, groups.videos)
        what, method = f"over {len(groups.videos)} groups of near-duplicate videos", "bootstrap"
    else:
        low, high = wilson_interval(correct, videos)
        what, method = f"assuming {videos} independent videos", "Wilson"
    bounds = f"{tables.percent(low)}% to {tables.percent(high)}%"
    return f"{LEVEL:.0%} confidence interval of video top-1 {what}: {bounds} ({method})."


def _context(workdir: Path) -> dict[str, Any]:
    """The variables of the template."""
    content = _read_optional(workdir / "result.json")
    if content is None:
        raise DataError(f"{workdir}: no result.json: the run is not finished; rerun the same command to resume it")
    result = Result.from_json(content, workdir / "result.json")
    metrics = metrics_line.read(workdir / "metrics.jsonl")
    place = workdir / "predictions" / "test.json"
    predicted = _read_optional(place)
    predictions = PredictionsFile.from_json(predicted, place) if predicted is not None else None
    config = _read_optional(workdir / "config.json")
    samples = workdir / "samples"
    index = _read_optional(samples / "index.json") or {"contact": [], "clips": []}
    matrix, confusions = _confusion(predictions) if predictions else (None, [])
    videos, correct = result.per_class_videos, result.per_class_correct
    return {
        "result": result,
        "split": tables.split_name(result.split),
        "row": tables.result_row(result),
        "top5_note": tables.top5_note(result),
        "overfitting_note": overfitting_note(result, metrics),
        "headline": _headline(result),
        "interval": confidence_interval(result),
        "curves": [_inline(figure) for figure in figures.curves(metrics)],
        "classes": result.classes,
        "matrix": matrix,
        "confusions": confusions,
        "bars": _inline(figures.class_accuracy(correct, videos, result.classes)),
        "per_class": [
            (name, n, c, tables.percent(share) if n else "-")
            for name, n, c, share in zip(
                result.classes, videos, correct, accuracies.class_accuracy(correct, videos), strict=True
            )
        ],
        "clips": _clips(samples, index, predictions),
        "contact": _labeled(samples, index["contact"]),
        "drawings": _labeled(samples, index.get("drawings", [])),  # missing in older runs
        "explanations": _labeled(samples, index.get("explanations", [])),  # likewise
        "failed": predictions.failed if predictions else [],
        "provenance": _provenance(result, predictions),
        "config": json.dumps(config, indent=2, ensure_ascii=False) if config is not None else "",
    }


def write(workdir: Path | str) -> Path:
    """Writes `report.html` into a finished run directory.

    The page is self-contained: it embeds styles, figures and images, has no scripts, and its content security policy
    forbids loading anything. `result.json` is required; sections without metrics, predictions, samples or config are
    left out or say so.

    Args:
      workdir: the run directory.

    Returns:
      The path of the page.

    Raises:
      DataError: if `result.json` is missing or a file is malformed.
    """
    workdir = Path(workdir)
    environment = Environment(
        loader=PackageLoader("vidjax.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    try:
        context = _context(workdir)
    except KeyError as error:
        raise DataError(f"{workdir}: a file of this run lacks the key {error}; evaluate it again") from error
    path = workdir / "report.html"
    files.write_text(path, environment.get_template("report.html").render(context))
    return path
