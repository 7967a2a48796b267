r"""Published weights: which there are, and getting them; and publishing those of a run.

  list [NAME ...]    a table of all; of the given ones, everything that is known
  fetch NAME         downloads and converts them
  import NAME FILE   converts a file that was downloaded elsewhere
  verify NAME        compares their five largest logits for a generated clip with those that were recorded
  export RUN         writes a run's weights and a card, which anybody can use without the run

Converted weights are kept in the cache folder (`python -m vidjax doctor` says where). Checksums are verified, and no
file is ever executed: PyTorch's and other pickles are read as data.

Examples:
  python -m vidjax weights list
  python -m vidjax weights fetch efficientnet-lite0-imagenet
  python -m vidjax weights import vgg19-imagenet ~/Downloads/vgg19-dcbb9e9d.pth
  python -m vidjax weights verify i3d-kinetics400
  python -m vidjax weights export runs/mine --out=mine --license=cc-by-4.0
  python -m vidjax predict video.mp4 --pretrained=mine/model.safetensors

--push=USER/NAME uploads the folder to the Hugging Face hub, from which hf:USER/NAME is a source like a file. It needs
`pip install huggingface_hub`, and `hf auth login`.
"""

import argparse
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from vidjax.cli import refuse_overrides
from vidjax.errors import ConfigError, DataError
from vidjax.system import files, terminal
from vidjax.system.paths import typed_path

if TYPE_CHECKING:
    from vidjax.pretrained import Info  # brings JAX

_KNOWN = "a name that `python -m vidjax weights list` shows"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the verb."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, purpose: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=purpose, description=purpose, allow_abbrev=False)

    add("list", "a table of all weights, or all that is known of some").add_argument(
        "names", nargs="*", metavar="NAME", help=_KNOWN
    )
    add("fetch", "downloads and converts weights").add_argument("name", metavar="NAME", help=_KNOWN)
    imported = add("import", "converts a file that was downloaded elsewhere")
    imported.add_argument("name", metavar="NAME", help=_KNOWN)
    imported.add_argument("file", metavar="FILE", type=typed_path, help="as its authors publish it")
    add("verify", "compares the largest logits for a generated clip with those that were recorded").add_argument(
        "name", metavar="NAME", help=_KNOWN
    )
    export = add("export", "writes the weights of a run and a card")
    export.add_argument("run", metavar="RUN", type=typed_path, help="a run directory")
    export.add_argument("--out", required=True, metavar="DIR", type=typed_path, help="a new folder")
    export.add_argument("--license", default=None, metavar="TEXT", help="of the weights, e.g. cc-by-4.0")
    export.add_argument("--push", default=None, metavar="USER/NAME", help="also upload it to the Hugging Face hub")


def run(arguments: argparse.Namespace, overrides: Mapping[str, str]) -> int:
    """Runs the action; exit status 1 if weights do not give the recorded logits."""
    refuse_overrides("weights", overrides)
    match arguments.action:
        case "list":
            return _list(arguments.names)
        case "fetch":
            return _fetch(arguments.name)
        case "import":
            return _import(arguments.name, arguments.file)
        case "verify":
            return _verify(arguments.name)
    return _export(arguments)


def _list(names: list[str]) -> int:
    from vidjax import pretrained

    if not names:
        rows = [
            (info.name, info.model, f"{info.megabytes:g}", "yes" if pretrained.is_here(info) else "", *_where(info))
            for info in pretrained.CATALOG.values()
        ]
        columns = ["name", "model", "MB", "here", "license", "source"]
        terminal.table(pd.DataFrame(rows, columns=columns), keys=1)
        return 0
    for name in names:
        info = pretrained.known(name)
        seen = info.preprocessing
        low, high = seen.value_range
        clips = "images" if seen.frames == 1 else f"clips of {seen.frames} frames at {seen.fps:g} frames per second"
        options = ", ".join(f"{key}={value}" for key, value in info.options.items())
        facts = {
            "name": info.name,
            "model": f"{info.model} ({options})" if options else info.model,
            "source": info.source,
            "license": info.license,
            "citation": info.citation,
            "file": _file(info),
            "checksum": info.checksum or "none is published",
            "size": f"{info.megabytes:g} MB",
            "here": "yes" if pretrained.is_here(info) else "no",
            "input": f"{clips}, short side {seen.short_side}, crop {seen.crop} pixels",
            "values": f"{low:.3g} to {high:.3g}",
            "mean": ", ".join(f"{value:g}" for value in seen.mean) + " of red, green, blue in 0..255",
            "std": ", ".join(f"{value:g}" for value in seen.std),
            "classes": f"{info.num_classes}: {info.classes[0]}, ..., {info.classes[-1]}",
            "accuracy": "; ".join(f"{key} {value:g}" for key, value in info.accuracy.items()) or "not published",
        }
        width = max(map(len, facts))
        terminal.say("\n".join(f"{key:{width}}  {value}" for key, value in facts.items()) + "\n")
    return 0


def _where(info: "Info") -> tuple[str, str]:
    """License and source in short."""
    place = _file(info)
    host = place.split("/")[2] if "://" in place else f"PyPI: {place.partition('==')[0]}"
    return info.license.partition(" (")[0].partition(";")[0], host


def _file(info: "Info") -> str:
    """The address of the file, or the package that has it."""
    return str(getattr(info.download, "url", None) or getattr(info.download, "requirement", ""))


def _fetch(name: str) -> int:
    from vidjax import pretrained
    from vidjax.pretrained import downloading, store

    info = pretrained.known(name)
    if (stored := store.path_of(name)).is_file():
        try:
            pretrained.load(name)
        except DataError as error:
            terminal.say(f"{error}; fetching it again")
        else:
            terminal.say(f"{name}: already here, in {stored}; delete it to fetch it again")
            return 0
    try:
        installed = pretrained.find(info)
    except ConfigError:
        pass
    else:
        terminal.say(f"{name}: its package is installed")
        return _store(name, Path(installed))

    def progress(chunks: Iterable[bytes], total: int | None) -> Iterable[bytes]:
        return terminal.track(chunks, total, f"downloading {name}", "MB")

    with downloading.downloaded(info, progress) as file:
        return _store(name, file)


def _import(name: str, file: Path) -> int:
    from vidjax import pretrained

    info = pretrained.known(name)
    if info.checksum is None and file.is_file():
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        terminal.say(f"note: no checksum is published for {name}; this file has sha256 {digest}")
    return _store(name, file)


def _store(name: str, file: Path) -> int:
    """Converts a file of the publisher, and keeps the result."""
    from vidjax import pretrained
    from vidjax.pretrained import store

    network = pretrained.convert(pretrained.CATALOG[name], file)
    variables, path = pretrained.flat(network.variables), store.path_of(name)
    store.write(path, variables, network.info.metadata())
    numbers = sum(array.size for array in variables.values())
    terminal.say(f"{name}: {len(variables)} arrays, {numbers:,} numbers, in {path}")
    return 0


def _verify(name: str) -> int:
    from vidjax import pretrained
    from vidjax.pretrained import fingerprint
    from vidjax.system import compilation_cache, devices

    info = pretrained.known(name)
    compilation_cache.enable()
    devices.available()
    found = fingerprint.record(pretrained.load(name))
    shown = pd.DataFrame({"rank": range(1, len(found) + 1), **_columns("found", found, info.classes)})
    if info.fingerprint is not None:
        shown = shown.assign(**_columns("expected", info.fingerprint, info.classes))
    terminal.table(shown, f"{name}: largest logits of the generated clip")
    if info.fingerprint is None:
        terminal.say(f"nothing is recorded to compare with: {name} was not reachable where the others were recorded")
        return 1
    comparison = fingerprint.compare(info.fingerprint, found)
    outcome = "as recorded" if comparison.agree else "DIFFERENT"
    terminal.say(f"largest difference {comparison.difference:.2g}: {outcome}")
    return 0 if comparison.agree else 1


def _columns(name: str, logits: Sequence[tuple[int, float]], classes: Sequence[str]) -> dict[str, list[str]]:
    return {
        name: [classes[label] for label, _ in logits],
        f"logit {name}": [f"{logit:.4f}" for _, logit in logits],
    }


def _export(arguments: argparse.Namespace) -> int:
    from vidjax.inference import publishing
    from vidjax.pretrained import hub

    files.check_folder(arguments.out, f"--out={arguments.out}")
    info = publishing.publish(arguments.run, arguments.out, arguments.license or publishing.NO_LICENSE)
    size = os.path.getsize(arguments.out / hub.FILE) / 1e6
    terminal.say(f"{arguments.out}: {hub.FILE} ({size:.1f} MB), config.json, README.md; {info.num_classes} classes")
    if arguments.license is None:
        terminal.say("note: README.md states no license: --license=TEXT")
    terminal.say(f"predict with it: python -m vidjax predict VIDEO --pretrained={arguments.out / hub.FILE}")
    if arguments.push is not None:
        terminal.say(f"uploaded: {hub.push(arguments.out, arguments.push)}")
    return 0
