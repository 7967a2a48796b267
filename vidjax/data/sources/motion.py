"""The embedded data set `motion`: eight classes that only their motion tells apart.

A measuring instrument more than a task: a network that sees one frame stays at chance by construction
(see `vidjax.data.motion.paths`), so whatever a network gets above 1/8 it gets from time. Where level is hard,
it gets nothing above 1/4 without seeing both of two motions, which are 16 frames and more apart, and nothing
above 1/2 without their order. That holds for clips at random starts: one at a fixed place in time (data.position,
data.frame_number) may know which of the two motions it shows, and then a short one reaches 1/2.
"""

import re
from pathlib import Path
from typing import Annotated

from vidjax.data.motion.files import PARTS, Plan, ensure
from vidjax.data.motion.paths import LEVELS
from vidjax.data.records import Source, Video
from vidjax.errors import OptionError
from vidjax.options.declaring import Option
from vidjax.system.paths import cache_dir

_HARD_NOTE = "only clips that span both motions tell the class: 10 frames at stride 6, as the preset motion_hard has"


def load(
    *,
    root: Annotated[str | None, Option("folder in which the sets are kept; None: in the cache")] = None,
    level: Annotated[
        str, Option("hard: with the preset motion_hard, whose clips span its videos", choices=tuple(LEVELS))
    ] = "easy",
    seed: Annotated[int, Option("of the generator", at_least=0)] = 0,
    train_clips: Annotated[int, Option("how many are made for training, a multiple of 8", at_least=1)] = 1600,
    validation_clips: Annotated[int, Option("likewise, for validation", at_least=1)] = 200,
    test_clips: Annotated[int, Option("likewise, for the test", at_least=1)] = 304,
) -> Source:
    """Returns `motion`, after making its files the first time (some 20 s on 2 cores, 90 MB; hard: 170 MB).

    Clips of 56 x 56 pixels at 25 fps, as many of each class. No two clips of a set share a seed.
    Easy: 32 frames of left, right, up, down, clockwise, counter-clockwise, approach or recede.
    Hard: 64 frames of rest, a motion, rest, another motion, rest: left-up (first left, then up), up-left,
    right-up, up-right, left-down, down-left, right-down or down-right.

    Args:
      root: directory in which the sets are kept; by default `motion` in `vidjax.system.paths.cache_dir()`.
      level: "easy" or "hard"; the hard one wants clips that span it (10 frames at data.stride=6).
      seed: of the whole set.
      train_clips: number of clips to train on; a multiple of 8, like the next two.
      validation_clips: number of clips to validate on.
      test_clips: number of clips to test on.

    Returns:
      The source, called "motion" or "motion_hard"; `mirror` exchanges left with right and clockwise with
      counter-clockwise.

    Raises:
      ConfigError: if there is no such level, a number of clips is no positive multiple of 8, the seed is
        negative, or `root` holds something else.
      DataError: if the files cannot be written.
    """
    if level not in LEVELS:
        raise OptionError(f"motion: {{level}}={level!r} is not one of {', '.join(LEVELS)}", ["level"])
    recipe = LEVELS[level]
    names = recipe.classes.names
    counts = {"train_clips": train_clips, "validation_clips": validation_clips, "test_clips": test_clips}
    for key, count in counts.items():
        if count <= 0 or count % len(names):
            raise OptionError(
                f"motion: {{{key}}}={count} must be a positive multiple of {len(names)}, the classes", [key]
            )
    if seed < 0:
        raise OptionError(f"motion: {{seed}}={seed} must not be negative", ["seed"])
    place = Path(root).expanduser() if root else cache_dir() / "motion"
    if root and place.is_dir() and any(place.iterdir()) and not any(map(_is_set, place.iterdir())):
        raise OptionError(
            f"{{root}}={root} holds other files; motion makes its own videos there. For your own videos take the"
            " preset folder: --config=FILE:folder",
            ["root"],
        )
    plan = Plan(seed, (train_clips, validation_clips, test_clips), recipe)
    directory = ensure(place, plan)
    parts: dict[str, list[Video]] = {part: [] for part in PARTS}
    for clip, label, _ in plan.entries():
        path = str(directory / f"{clip}.avi")
        # Every frame of the files is a key frame, so random access is exact (a test compares).
        parts[clip.split("/")[0]].append(Video.of(clip, path, label, group=clip, exact_seek=True))
    return Source(
        name="motion" if level == "easy" else f"motion_{level}",
        split="standard" if seed == 0 else f"seed {seed}",
        classes=names,
        train=tuple(parts["train"]),
        validation=tuple(parts["validation"]),
        test=tuple(parts["test"]),
        mirror=recipe.classes.mirrored,
        notes=() if level == "easy" else (_HARD_NOTE,),
    )


def _is_set(path: Path) -> bool:
    """Whether this has the name of a set that `vidjax.data.motion.files.ensure` made."""
    return re.fullmatch(r"v\d+-[0-9a-f]{12}", path.name) is not None
