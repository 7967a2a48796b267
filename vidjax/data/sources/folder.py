"""A folder of clips: one subfolder per class, with or without a split into parts."""

from pathlib import Path
from typing import Annotated

from vidjax.data.flip_rule import FlipRuleOption, check_flip_rule
from vidjax.data.records import Source, Video
from vidjax.data.sources.leaks import check_parts
from vidjax.data.sources.partition import check_classes, check_fractions, split_by_hash, untested_classes_note
from vidjax.data.sources.shared_options import Validation
from vidjax.data.sources.user_paths import existing_folder
from vidjax.data.video.discovery import is_image_sequence, is_video_name
from vidjax.errors import DataError
from vidjax.options.declaring import Option

_PARTS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


def load(
    *,
    root: Annotated[str, Option("folder of videos")],
    validation: Validation = 0.1,
    test: Annotated[float, Option("fraction for testing if the folder has no test part", at_least=0, below=1)] = 0.2,
    seed: Annotated[int, Option("of the split")] = 0,
    mirror: FlipRuleOption = None,
) -> Source:
    """Returns the clips under `root`, in one of two layouts.

    `root/CLASS/clip.mp4`: within each class the clips are ordered by a hash of the seed and their name, and the
    parts cut from that order; every part with a fraction above 0 gets at least one clip of each class that has
    enough. Adding clips moves few others. `root/{train,val,test}/CLASS/clip.mp4`: as given ("validation" is
    accepted for "val"; without it, validation is cut from the training clips in the same way).

    A clip is a file with a usual video suffix, or a folder of images; other files are ignored, and counted in `notes`.

    Args:
      root: the folder.
      validation: fraction of each class for validation, if the layout has no such part.
      test: fraction of each class for testing, if the layout has no parts.
      seed: of the split.
      mirror: what a horizontal flip does to the classes: "invariant" (nothing) or "forbidden" (it may change
        them, as left and right); None leaves it undeclared, and then nothing may be flipped.

    Returns:
      The source; `split` is "given", or "hash, seed N". Every clip is a group of its own.

    Raises:
      ConfigError: if a fraction or `mirror` is out of range.
      DataError: if there is no class, a class or a part is empty, a class is missing in a part, or two clips
        have the same class and name.
    """
    check_fractions("folder", validation, test)
    check_flip_rule("folder", mirror)
    folder = existing_folder("folder", "root", root)
    names = {path.name for path in _subfolders(folder)}
    given = "train" in names and names <= set(_PARTS)
    ignored: list[str] = []
    if given:
        classes, parts = _given_parts(folder, validation, seed, ignored)
    else:
        clips = _clips(folder, ignored)
        classes = tuple(clips)
        parts = split_by_hash(_videos(clips, classes), {"test": test, "validation": validation}, seed)
    check_classes(f"folder {folder}", classes)
    check_parts(f"folder {folder}", classes, parts)
    return Source(
        name=folder.resolve().name,
        split="given" if given else f"hash, seed {seed}",
        classes=classes,
        train=tuple(parts["train"]),
        validation=tuple(parts["validation"]),
        test=tuple(parts["test"]),
        mirror=mirror,  # type: ignore[arg-type]
        notes=(*ignored, *untested_classes_note(classes, parts["test"])),
    )


def _given_parts(
    folder: Path, validation: float, seed: int, ignored: list[str]
) -> tuple[tuple[str, ...], dict[str, list[Video]]]:
    found: dict[str, dict[str, list[Path]]] = {}
    for path in _subfolders(folder):
        part = _PARTS[path.name]
        if part in found:
            raise DataError(f"folder: {folder} has both val/ and validation/; keep one")
        found[part] = _clips(path, ignored)
    if "test" not in found:
        raise DataError(f"folder: {folder} has train/ but no test/")
    classes = tuple(found["train"])
    for part, clips in found.items():
        for name in set(classes) ^ set(clips):
            where, other = (part, "train") if name in clips else ("train", part)
            raise DataError(f"folder: {folder}: class {name} is in the {where} part but not in {other}")
    parts = {part: _videos(clips, classes) for part, clips in found.items()}
    if "validation" not in parts:
        parts.update(split_by_hash(parts["train"], {"validation": validation}, seed))
    return classes, {part: parts[part] for part in ("train", "validation", "test")}


def _clips(folder: Path, notes: list[str]) -> dict[str, list[Path]]:
    """Class name -> its clips, both sorted; adds to the notes how many files were skipped."""
    clips: dict[str, list[Path]] = {}
    ignored = sum(path.is_file() for path in folder.iterdir())
    for subfolder in _subfolders(folder):
        entries = sorted(path for path in subfolder.iterdir() if not path.name.startswith("."))
        videos = [path for path in entries if _is_clip(path)]
        if not videos:
            raise DataError(f"folder: class folder {subfolder} holds no video (other entries: {len(entries)})")
        for path in [subfolder, *videos]:
            _check_name(path)
        clips[subfolder.name] = videos
        ignored += len(entries) - len(videos)
    if not clips:
        raise DataError(f"folder: {folder} has no class folders: it needs one subfolder of videos per class")
    if ignored == 1:
        notes.append(f"1 entry of {folder} is not a video and was skipped")
    elif ignored:
        notes.append(f"{ignored} entries of {folder} are not videos and were skipped")
    return clips


def _is_clip(path: Path) -> bool:
    return path.is_file() if is_video_name(path) else is_image_sequence(path)


def _videos(clips: dict[str, list[Path]], classes: tuple[str, ...]) -> list[Video]:
    videos = []
    for label, name in enumerate(classes):
        for path in clips[name]:
            identity = f"{name}/{path.stem}"
            videos.append(Video.of(identity, str(path), label, group=identity))
    return videos


def _subfolders(folder: Path) -> list[Path]:
    """Subfolders in the order of their names; hidden ones are left out."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _check_name(path: Path) -> None:
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"folder: the name {path.name!r} in {path.parent} is not valid UTF-8; rename it") from error
