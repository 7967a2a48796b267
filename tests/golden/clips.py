"""A data source in memory, by integer arithmetic alone: the same bytes on every machine."""

import numpy as np

from vidjax.data.records import Source, Video

CLASSES = ("left", "right")
_FRAMES, _SIDE = 24, 40


def frames(number: int, label: int) -> np.ndarray:
    """Stripes on a pattern that move by a pixel each frame: uint8 [24, 40, 40, 3]."""
    t, y, x, c = np.ogrid[:_FRAMES, :_SIDE, :_SIDE, :3]
    moved = x + t * (1 if label == 0 else -1) + 7 * number
    return ((moved * (5 + number) + y * (3 + c) + 40 * c + (x * y) % 11) % 256).astype(np.uint8)


def load() -> Source:
    """Eight videos to train on, four to validate on, four to test on."""

    def part(name: str, first: int, count: int) -> tuple[Video, ...]:
        numbers = [(first + number, number % 2) for number in range(count)]
        return tuple(
            Video.of(f"{name}/{number}", f"{name}/{number}", label, f"{name}/{number}", frames=frames(number, label))
            for number, label in numbers
        )

    return Source(
        name="golden",
        split="made",
        classes=CLASSES,
        train=part("train", 0, 8),
        validation=part("validation", 8, 4),
        test=part("test", 12, 4),
        mirror=(1, 0),
    )
