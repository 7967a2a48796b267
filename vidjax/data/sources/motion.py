"""The embedded data set `motion`: eight classes that only their motion tells apart.

A measuring instrument more than a task: a network that sees one frame stays at chance by construction
(see `vidjax.data.motion_renderer`), so whatever a network gets above 1/8 it gets from time.
"""

from pathlib import Path

from vidjax.data.motion_files import PARTS, Plan, ensure
from vidjax.data.motion_renderer import CLASSES, MIRRORED
from vidjax.data.records import Source, Video
from vidjax.errors import ConfigError
from vidjax.paths import cache_dir


def load(
    *,
    root: str | None = None,
    seed: int = 0,
    train_clips: int = 1600,
    validation_clips: int = 200,
    test_clips: int = 304,
) -> Source:
    """Returns `motion`, after making its files the first time (some 20 s on 2 cores, 90 MB).

    Clips of 32 frames of 56 x 56 pixels at 25 fps, as many of each class: left, right, up, down,
    clockwise, counter-clockwise, approach, recede. No two clips share a seed.

    Args:
      root: directory in which the set is kept; by default `motion` in `vidjax.paths.cache_dir()`.
      seed: of the whole set.
      train_clips: number of clips to train on; a multiple of 8, like the next two.
      validation_clips: number of clips to validate on.
      test_clips: number of clips to test on.

    Returns:
      The source; `mirror` exchanges left with right and clockwise with counter-clockwise.

    Raises:
      ConfigError: if a number of clips is no positive multiple of 8, the seed is negative, or `root`
        holds something else.
      DataError: if the files cannot be written.
    """
    counts = {"train_clips": train_clips, "validation_clips": validation_clips, "test_clips": test_clips}
    for key, count in counts.items():
        if count <= 0 or count % len(CLASSES):
            raise ConfigError(f"motion: {key}={count} must be a positive multiple of {len(CLASSES)}, the classes")
    if seed < 0:
        raise ConfigError(f"motion: seed={seed} must not be negative")
    place = Path(root).expanduser() if root else cache_dir() / "motion"
    if root and place.is_dir() and any(place.iterdir()) and not any(place.glob("v*-*")):
        raise ConfigError(
            f"data.root={root} holds other files; motion makes its own videos there. For your own videos take the"
            " preset folder: --config=FILE:folder"
        )
    plan = Plan(seed, (train_clips, validation_clips, test_clips))
    directory = ensure(place, plan)
    parts: dict[str, list[Video]] = {part: [] for part in PARTS}
    for clip, label, _ in plan.entries():
        path = str(directory / f"{clip}.avi")
        # Every frame of the files is a key frame, so random access is exact (a test compares).
        parts[clip.split("/")[0]].append(Video(clip, path, label, group=clip, exact_seek=True))
    return Source(
        name="motion",
        split="standard",
        classes=CLASSES,
        train=tuple(parts["train"]),
        validation=tuple(parts["validation"]),
        test=tuple(parts["test"]),
        mirror=MIRRORED,
    )
