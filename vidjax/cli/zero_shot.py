r"""Zero-shot evaluation of published weights on the classes that UCF101 shares with Kinetics, by a map of labels.

    python -m vidjax zero-shot --root UCF-101 --out results.json

For each clip in the class folders below --root the network sees --frames consecutive frames (64) from the middle, at 25
frames per second, center crop: one view. The clips of all splits are used, since nothing is trained. Reported are the
accuracy over all classes of the network, that over the mapped classes only, and the confusion matrix.

Results are written to --out after each clip; the same command continues an interrupted one.

References: Soomro et al. 2012 (UCF101); Carreira & Zisserman 2017 (I3D, Kinetics).
"""

import argparse
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vidjax import pretrained
from vidjax.cli import refuse_overrides
from vidjax.errors import ConfigError, DataError, VideoError
from vidjax.evaluation import metrics
from vidjax.evaluation.statistics import bootstrap_interval
from vidjax.pretrained.video_classifier import VideoClassifier, inspected
from vidjax.reporting import tables
from vidjax.system import compilation_cache, files, terminal
from vidjax.system.paths import typed_path

# Class of UCF101 (its folder) -> class of Kinetics-400.
KINETICS_OF_UCF101 = {
    "BabyCrawling": "crawling baby",
    "BodyWeightSquats": "squat",
    "BoxingPunchingBag": "punching bag",
    "JugglingBalls": "juggling balls",
    "Lunges": "lunge",
    "Punch": "punching person (boxing)",
    "PushUps": "push up",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    help_ = "folder with one subfolder of clips per class"
    parser.add_argument("--root", type=typed_path, required=True, metavar="FOLDER", help=help_)
    parser.add_argument(
        "--out", type=typed_path, required=True, metavar="FILE", help="JSON file, new or to be continued"
    )
    parser.add_argument("--frames", type=int, default=64, metavar="N", help="consecutive frames of each clip (64)")
    parser.add_argument("--pretrained", default="i3d-kinetics400", metavar="NAME", help="weights (i3d-kinetics400)")


def run(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Classifies and prints; exit status 1 if a clip cannot be read."""
    refuse_overrides("zero-shot", overrides)
    if arguments.frames < 1:
        raise ConfigError(f"--frames={arguments.frames}: give at least 1")
    files.check_file(arguments.out, f"--out={arguments.out}")
    compilation_cache.enable()
    result = evaluate(arguments.root, arguments.out, arguments.pretrained, arguments.frames)
    _show(result)
    return 1 if any("failed" in found for found in result["clips"].values()) else 0


def evaluate(root: Path, out: Path, name: str = "i3d-kinetics400", frames: int = 64) -> dict[str, Any]:
    """Classifies all clips and writes `out`.

    Args:
      root: the folder with one subfolder of .avi clips per class.
      out: JSON file; clips that it has already are not classified again.
      name: of the published weights.
      frames: consecutive frames of each clip.

    Returns:
      What was written: "protocol", "clips" (path below root -> what was found) and "summary".

    Raises:
      ConfigError: if the weights are not installed, or `out` holds something else.
      DataError: if there is no clip.
    """
    clips = {f"{path.parent.name}/{path.name}": path for path in _clips(root)}
    network = pretrained.load(name)
    protocol = {
        "weights": name,
        "frames": frames,
        "fps": network.info.preprocessing.fps,
        "position": "middle",
        "views": 1,
    }
    done = _read_previous(out, protocol)
    waiting = {clip: str(path) for clip, path in clips.items() if clip not in done}
    classify, videos = VideoClassifier(network), inspected(list(waiting.values()))
    for clip, path in terminal.track(waiting.items(), len(waiting), "classifying", "clips"):
        done[clip] = _classified(classify, videos[path], clip, network.info.classes, frames)
        files.write_json(out, _result(protocol, {clip: done[clip] for clip in clips if clip in done}))
    result = _result(protocol, {clip: done[clip] for clip in clips})
    files.write_json(out, result)
    return result


def summarize(clips: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Accuracies and confusion, over the clips that could be read.

    Args:
      clips: path below root -> "label" (true), "top5" (of all classes), "mapped" (best of the mapped classes).

    Returns:
      clips, failed: counts.
      all_top1, all_top5: accuracy where all classes of the network compete, fractions.
      mapped_top1: where only the mapped ones do.
      all_top1_interval, mapped_top1_interval: 95%, bootstrap over (class, group).
      classes: the mapped classes that occur.
      mapped_confusion: counts by true class (row) and best of the mapped classes (column).
      per_class: class -> "clips", "all_top1" and "mapped_top1" (counts), "predicted" (label -> count, of all classes).
    """
    read = {clip: found for clip, found in clips.items() if "failed" not in found}
    seen = {found[part] for found in read.values() for part in ("label", "mapped")}
    classes = [name for name in KINETICS_OF_UCF101.values() if name in seen]
    labels = [classes.index(found["label"]) for found in read.values()]
    mapped = [classes.index(found["mapped"]) for found in read.values()]
    groups = [_group(clip) for clip in read]
    right = {
        "all_top1": np.array([found["top5"][0] == found["label"] for found in read.values()]),
        "all_top5": np.array([found["label"] in found["top5"] for found in read.values()]),
        "mapped_top1": np.equal(labels, mapped),
    }
    summary: dict[str, Any] = {"clips": len(read), "failed": len(clips) - len(read)}
    for measure, correct in right.items():
        counts = metrics.group_counts(labels, groups, correct)
        interval = bootstrap_interval(counts.correct, counts.videos)
        summary |= {measure: float(correct.mean()), f"{measure}_interval": list(interval)}
    summary["classes"] = classes
    summary["mapped_confusion"] = metrics.confusion_counts(labels, mapped, len(classes)).tolist()
    summary["per_class"] = {}
    for number, label in enumerate(classes):
        own = np.equal(labels, number)
        predicted = Counter(found["top5"][0] for found in read.values() if found["label"] == label)
        summary["per_class"][label] = {
            "clips": int(own.sum()),
            "all_top1": int(right["all_top1"][own].sum()),
            "mapped_top1": int(right["mapped_top1"][own].sum()),
            "predicted": dict(predicted.most_common()),
        }
    return summary


def _clips(root: Path) -> list[Path]:
    clips = [path for name in KINETICS_OF_UCF101 for path in sorted((root / name).glob("*.avi"))]
    if not clips:
        raise DataError(f"{root}: has no clips in folders named {', '.join(KINETICS_OF_UCF101)}")
    return clips


def _read_previous(out: Path, protocol: Mapping[str, Any]) -> dict[str, Any]:
    """The clips that an earlier call has classified."""
    earlier = files.read_json(out)
    if earlier is None and not out.exists():
        return {}
    if not isinstance(earlier, dict) or earlier.get("protocol") != protocol:
        raise ConfigError(
            f"--out {out} contains other results than clips classified with these options: give another file"
        )
    return dict(earlier["clips"])


def _classified(
    classify: VideoClassifier, video: Any, clip: str, classes: Sequence[str], frames: int
) -> dict[str, Any]:
    """What is found of a clip: see `summarize`, and its seconds of work."""
    label, started = KINETICS_OF_UCF101[clip.partition("/")[0]], time.monotonic()
    try:
        scores = classify(video, frames)
    except VideoError as error:
        return {"label": label, "failed": error.reason}
    mapped = max(KINETICS_OF_UCF101.values(), key=lambda name: scores.probabilities[classes.index(name)])
    return {
        "label": label,
        "top5": [classes[number] for number in scores.top(5)],
        "probability": round(float(scores.probabilities[classes.index(label)]), 6),
        "mapped": mapped,
        "seconds": round(time.monotonic() - started, 1),
    }


def _result(protocol: Mapping[str, Any], clips: Mapping[str, Any]) -> dict[str, Any]:
    is_any_read = any("failed" not in found for found in clips.values())
    return {"protocol": protocol, "summary": summarize(clips) if is_any_read else None, "clips": clips}


def _group(clip: str) -> str:
    """The group of a clip, "v_Lunges_g08" of "Lunges/v_Lunges_g08_c01.avi": its clips come from one video."""
    return re.sub(r"_c\d+\.avi$", "", clip.rpartition("/")[2])


def _show(result: Mapping[str, Any]) -> None:
    summary = result["summary"]
    if summary is None:
        terminal.say("no clip could be read")
        return
    rows = []
    for label, of_class in summary["per_class"].items():
        predicted = ", ".join(f"{name} {count}" for name, count in list(of_class["predicted"].items())[:4])
        rows.append((label, of_class["clips"], of_class["all_top1"], of_class["mapped_top1"], predicted))
    columns = ["class", "clips", "correct (all classes)", "correct (mapped classes)", "predicted (all classes)"]
    terminal.table(pd.DataFrame(rows, columns=columns))
    confusion = pd.DataFrame(summary["mapped_confusion"], columns=[str(i + 1) for i in range(len(rows))])
    confusion.insert(0, "true \\ predicted", [f"{i + 1} {label}" for i, label in enumerate(summary["classes"])])
    terminal.table(confusion)
    for measure in ("all_top1", "all_top5", "mapped_top1"):
        low, high = summary[f"{measure}_interval"]
        terminal.say(
            f"{measure}: {tables.percent(summary[measure])}% ({tables.percent(low)} to {tables.percent(high)})"
            f" of {summary['clips']} clips"
        )
