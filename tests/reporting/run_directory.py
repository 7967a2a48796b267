"""Makes run directories that look like real ones, for the tests of the reports."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from vidjax.evaluation.predictions import Failure, PredictionsFile
from vidjax.evaluation.result import Result
from vidjax.reporting import pictures

CLASSES = ["left", "right", "up", "down", "clockwise", "counter-clockwise", "approach", "recede"]


def predictions(classes: list[str], videos: int, accuracy: float = 0.8, seed: int = 0) -> PredictionsFile:
    rng = np.random.default_rng(seed)
    records = []
    for i in range(videos):
        label = i % len(classes)
        scores = rng.dirichlet(np.full(len(classes), 0.3))
        top = label if rng.random() < accuracy else int(rng.integers(len(classes)))
        scores[top] += 1
        scores /= scores.sum()
        records.append(
            {
                "id": f"{classes[label]}/clip_{i:03d}",
                "group": str(i),
                "label": label,
                "scores": [float(score) for score in scores],
                "views": 2,
                "view_ranks": [0, 0] if np.argmax(scores) == label else [1, 2],
            }
        )
    content = {
        "dataset": "motion",
        "split": "0",
        "part": "test",
        "classes": classes,
        "average": "probabilities",
        "views_per_video": 2,
        "videos": records,
        "failed": [],
    }
    return PredictionsFile.from_json(content, "predictions")


def result(predicted: PredictionsFile, **changes: Any) -> Result:
    k = len(predicted.classes)
    labels = np.array([video.label for video in predicted.videos], int)
    scores = np.array([video.scores for video in predicted.videos])
    right = scores.argmax(1) == labels
    videos = np.bincount(labels, minlength=k)
    correct = np.bincount(labels[right], minlength=k)
    top5 = [label in np.argsort(-row)[:5] for label, row in zip(labels, scores)]
    content = {
        "model": "early_fusion",
        "inputs": "rgb 10x48x48, stride 1",
        "dataset": predicted.dataset,
        "split": predicted.split,
        "seed": 0,
        "parameters": 1_234_567,
        "gmacs_per_view": 0.0421,
        "resolution": "10x48x48",
        "views": 2,
        "views_detail": "2 clips x 1 crop",
        "videos": len(labels),
        "failed_videos": len(predicted.failed),
        "clip_top1": float(right.mean()) - 0.01,
        "video_top1": float(right.mean()),
        "video_top5": float(np.mean(top5)),
        "mean_class_accuracy": float(np.mean(correct[videos > 0] / videos[videos > 0])),
        "seconds": 143.2,
        "per_class_videos": videos.tolist(),
        "per_class_correct": correct.tolist(),
        "classes": predicted.classes,
        "steps": 1000,
        "initial_weights": "i3d-kinetics400",
        "batch_size": 32,
        "train_videos": 1600,
        "hardware": "cpu, 2 cores",
        "versions": {"jax": "0.10.2", "python": "3.11.2"},
        "commit": "0123abc",
        "config_hash": "f00dfeed",
        "finished": True,
        **changes,
    }
    return Result.from_json(content, "result")


def write(
    folder: Path,
    classes: list[str] | None = None,
    videos: int = 64,
    samples: bool = True,
    metrics: bool = True,
    failed: list[dict[str, str]] | None = None,
) -> Path:
    """A finished run directory in `folder`."""
    classes = classes or CLASSES
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    unread = [Failure(**failure) for failure in failed or []]
    predicted = dataclasses.replace(predictions(classes, videos), failed=unread)
    (folder / "config.json").write_text(json.dumps({"seed": 0, "model": {"name": "early_fusion"}, "note": classes[0]}))
    result(predicted).write(folder / "result.json")
    predicted.write(folder / "predictions" / "test.json")
    if metrics:
        lines = []
        for step in range(10, 1001, 10):
            falling = 2 / (1 + step / 80)
            lines.append(
                {"step": step, "split": "train", "loss": falling + 0.2 * rng.random(), "top1": 1 - falling / 2}
            )
            if step % 100 == 0:
                accuracy = 0.95 - falling / 2
                lines.append(
                    {
                        "step": step,
                        "split": "validation",
                        "loss": falling + 0.2,
                        "clip_top1": accuracy - 0.02,
                        "video_top1": accuracy,
                    }
                )
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if samples:
        contact = [(name, moving_square(rng)) for name in classes]
        clips = [(video.id, moving_square(rng, 24), 25.0) for video in predicted.videos[:12]]
        pictures.write_samples(folder / "samples", contact, clips)
    return folder


def moving_square(rng: np.random.Generator, t: int = 10, side: int = 56) -> np.ndarray:
    """A textured square that moves over a textured background: uint8 [t, side, side, 3]."""
    frames = np.broadcast_to(rng.integers(0, 90, (side, side, 3), dtype=np.uint8), (t, side, side, 3)).copy()
    square = rng.integers(140, 255, (16, 16, 3), dtype=np.uint8)
    x, y = rng.integers(0, side - 16 - t, 2) if side - 16 > t else (0, 0)
    for i in range(t):
        frames[i, y : y + 16, x + i : x + i + 16] = square
    return frames
