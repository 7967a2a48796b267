"""A trained network as a folder that others can use: weights, config and card, without the run."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from vidjax import pretrained
from vidjax.config import initial_weights
from vidjax.config.stored import read_stored
from vidjax.errors import ConfigError, VidjaxError
from vidjax.evaluation.result import Result
from vidjax.inference.network import TrainedNetwork, load_network
from vidjax.pretrained import hub, store
from vidjax.pretrained.info import ExpectedInput, Info
from vidjax.reporting.report import confidence_interval
from vidjax.system import files

NO_LICENSE = "not stated"
# Of the stored config, what tells how the network was trained; others have paths of a machine.
_SECTIONS = ("model", "preprocessing", "loss", "optimizer", "schedule", "batch_norm")
_NUMBERS = ("steps", "epochs", "batch_size", "ema_decay")  # of config.train
_CLASSES_SHOWN = 60
_NOMINAL_FPS = 25.0  # of videos that are sampled without regard to their rate


def publish(run: Path, out: Path, license_: str = NO_LICENSE) -> Info:
    """Writes `model.safetensors`, `config.json` and `README.md`.

    Args:
      run: the run directory.
      out: new or empty folder.
      license_: of the weights.

    Returns:
      What the file says of the weights.

    Raises:
      ConfigError: for a network that nobody could build from the file: one of a custom factory, or of other inputs than
        RGB.
      DataError: if a file of the run is missing, or `out` is not empty.
    """
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"--out={out} is not empty: give a new folder")
    network = load_network(run)
    stored = read_stored(run) or {}
    info = _info(run, network, stored, license_)
    store.write(out / hub.FILE, pretrained.flat(network.variables), info.metadata())
    pretrained.load(str(out / hub.FILE))  # whether it says all that is needed
    kept = {section: dict(stored.get(section, {})) for section in _SECTIONS}
    kept["train"] = {key: value for key, value in stored.get("train", {}).items() if key in _NUMBERS}
    given = {
        section: {key: value for key, value in keys.items() if value is not None} for section, keys in kept.items()
    }
    files.write_json(out / "config.json", given)
    files.write_text(out / "README.md", _card(run, info))
    return info


def _info(run: Path, network: TrainedNetwork, stored: dict[str, Any], license_: str) -> Info:
    section = dict(stored.get("model", {}))
    name, factory = section.pop("name", None), section.pop("factory", None)
    if factory is not None:
        raise ConfigError(f"{run}: its model is code of its own ({factory}), which no file of weights can bring along")
    first = network.inputs[0]
    if len(network.inputs) != 1 or first.space != "image" or first.stream_name != "rgb" or first.seen != "as it is":
        given = ", ".join(each.stream_name if each.seen == "as it is" else each.seen for each in network.inputs)
        raise ConfigError(f"{run}: its inputs are {given}: only networks of RGB alone are exported")
    clip, views = network.clip, network.views
    return Info(
        name=run.name,
        model=str(name),
        options={key: value for key, value in section.items() if value is not None},
        source=f"trained with vidjax, {network.step} steps ({network.weights} weights){_origin(run)}",
        license=license_,
        class_names=network.classes,
        clip=dataclasses.replace(clip, short_side_max=None),
        views=views,
        mirror=network.mirror,
        preprocessing=ExpectedInput(
            frames=clip.frames,
            fps=clip.fps or _NOMINAL_FPS / clip.stride,
            short_side=clip.short_side or clip.crop,
            crop=network.side,
            mean=_per_channel(network.preprocessing.mean),
            std=_per_channel(network.preprocessing.std),
            average=network.average,
        ),
    )


def _origin(run: Path) -> str:
    """The published weights that a run began from, or "": those of the first one where runs began from each other."""
    seen = set()
    while run not in seen:
        seen.add(run)
        name = (files.read_json(run / initial_weights.FILE) or {}).get("name")
        if name is None:
            return ", from those of another run" if len(seen) > 1 else ""
        if name in pretrained.CATALOG:
            return _named(name, pretrained.CATALOG[name].source, pretrained.CATALOG[name].license)
        if hub.is_address(name):
            return f", from {name}, whose license is stated there"
        run = Path(name).expanduser()
        if not run.is_dir() or (run / hub.FILE).is_file():
            break
    with contextlib.suppress(VidjaxError):  # gone since, or of another layout
        metadata = store.read(run / hub.FILE if run.is_dir() else run).metadata
        return _named(run.name, metadata.get("source", "of unknown origin"), metadata.get("license") or NO_LICENSE)
    return _named(run.name, "of unknown origin", NO_LICENSE)


def _named(name: str, source: str, license_: str) -> str:
    """Weights in a sentence; of files without the folder, which is one of this machine."""
    return f", from {name} ({source}; license of those weights: {license_})"


def _per_channel(value: float | tuple[float, ...]) -> tuple[float, float, float]:
    values = value if isinstance(value, tuple) else (value,)
    red, green, blue = values * 3 if len(values) == 1 else values
    return red, green, blue


def _card(run: Path, info: Info) -> str:
    """The README, in the form of the Hugging Face hub."""
    result = Result.read(run / "result.json")
    expected = info.preprocessing
    shown = list(info.classes[:_CLASSES_SHOWN])
    if len(info.classes) > len(shown):
        shown.append(f"and {len(info.classes) - len(shown)} more, in the metadata of {hub.FILE}")
    lines = ["---", "library_name: vidjax", "pipeline_tag: video-classification"]
    lines += [f"license: {info.license}"] if info.license != NO_LICENSE else []
    lines += ["---", "", f"# {info.name}", ""]
    options = ", ".join(f"{key}={value}" for key, value in info.options.items())
    lines += [f"A network `{info.model}` of vidjax{f' ({options})' if options else ''}, {info.source}.", ""]
    lines += ["## Results", ""]
    if result is None:
        lines += ["It has not been evaluated.", ""]
    else:
        lines += [
            f"{result.dataset}, {result.split}: top-1 {100 * result.video_top1:.1f}%, mean over classes"
            f" {100 * result.mean_class_accuracy:.1f}%, of {result.videos} videos with {result.views}"
            f" view{'s' * (result.views != 1)} each."
            f" {confidence_interval(result)}",
            "",
        ]
    clip = info.clip
    assert clip is not None
    rate = f"at {clip.fps:g} frames per second" if clip.fps else f"one of {clip.stride}" if clip.stride > 1 else "all"
    origin = _origin(run)
    is_image = expected.frames == 1
    seen = "Single frames" if is_image else f"Clips of {expected.frames} frames ({clip.sampling}, {rate})"
    lines += [
        "## Inputs",
        "",
        f"{seen} of {expected.crop} x {expected.crop} pixels; a"
        f" pixel value p in 0..255 becomes (p - mean) / std, with mean {_numbers(expected.mean)} and std"
        f" {_numbers(expected.std)} of red, green and blue.",
        "",
        "## Use",
        "",
        "    python -m vidjax predict VIDEO --pretrained=model.safetensors",
        "    python launch.py --config=... --config.weights.source=model.safetensors",
        "",
        "`config.json` says how it was trained.",
        "",
        "## License",
        "",
        info.license if info.license != NO_LICENSE else "Not stated by those who published these weights.",
        *(
            ["", f"The weights that it began from have a license of their own: it was trained{origin}."]
            if origin
            else []
        ),
        "",
        "## Classes",
        "",
        *(f"- {name}" for name in shown),
    ]
    return "\n".join(lines) + "\n"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
