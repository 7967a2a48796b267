"""What the pages show of the code itself: `<!-- generated: NAME -->` is replaced when a page is read.

Nothing of it is stored, so nothing of it goes stale: the keys of a config come from their declarations (as in --help),
the model zoo from the models, their exact counts, the configs and the catalog of published weights. The pages of the
API reference, one for each package, are written to docs/api/ before the build reads them.
"""

import functools
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import vidjax
from vidjax import models
from vidjax.config import declarations, loading, sections
from vidjax.models import image_fusion
from vidjax.options.declaring import OptionSpec
from vidjax.pretrained import importers
from vidjax.pretrained.catalog import CATALOG

ROOT = Path(__file__).resolve().parents[2]
API = ROOT / "docs" / "api"
_MARK = re.compile(r"^<!-- generated: (\S+) -->$", re.MULTILINE)


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    escaped = [[re.sub(r"([|<])", r"\\\1", cell) for cell in row] for row in [heads, ["---"] * len(heads), *rows]]
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


# ------------------------------------------------------------------------------------------------- configuration


def configuration_page() -> str:
    """Every key of a config, section by section, with the options of everything that can be chosen in it."""
    return "\n\n".join(_section(name) for name in sections.KEYS)


def _section(section: str) -> str:
    about = inspect.getdoc(sections.KINDS[section]) or ""
    prefix = f"{section}." if section else ""
    rows = [[f"`{prefix}{name}`", *_key(key), f"{key.option.help}"] for name, key in sections.KEYS[section].items()]
    parts = [f"## {section or 'Outside of all sections'}", about, table(["key", "type", "default", "what it is"], rows)]
    if section in declarations.NAMED_SECTIONS:
        parts += [f"### Options of each {declarations.NAMED_SECTIONS[section]}", _options(section)]
    return "\n\n".join(parts)


def _options(section: str) -> str:
    """The options of all that can be chosen in a section: one row for each way in which one is declared."""
    rows = []
    for name, takers in declarations.all_options(section).items():
        alike: dict[tuple[str, ...], list[str]] = {}
        for taker, key in takers.items():
            alike.setdefault((*_key(key), key.option.help), []).append(taker)
        rows += [
            [f"`{section}.{name}`", *said[:2], said[2], ", ".join(f"`{taker}`" for taker in names)]
            for said, names in alike.items()
        ]
    return table(["key", "type", "default", "what it is", "of"], rows)


def _key(key: OptionSpec) -> list[str]:
    """Its type with what is allowed, and its default."""
    words = ", ".join(f"`{word}`" for word in key.option.choices)
    allowed = words or key.option.range
    default = "required" if key.required else f"`{key.default}`"
    return [f"{key.type_name}{f': {allowed}' if allowed else ''}", default]


# ------------------------------------------------------------------------------------------------------ model zoo

_FUSED, _THREE_D, _IMAGE = (10, 170, 170, 3), (16, 112, 112, 3), (1, 224, 224, 3)
# Model -> the clip [T, H, W, C] that its GMACs are counted at: that of its paper, or of its config.
VIEWS = {
    "single_frame": (1, 170, 170, 3),
    "early_fusion": _FUSED,
    "late_fusion": (2, 170, 170, 3),
    "slow_fusion": _FUSED,
    "multires": (1, 178, 178, 3),
    "c3d": _THREE_D,
    "c3d_small": _THREE_D,
    "r3d_18": _THREE_D,
    "r2plus1d_18": _THREE_D,
    "i3d": (64, 224, 224, 3),
    "vgg19": _IMAGE,
    "mobilenet_v2": _IMAGE,
    "efficientnet_lite0": _IMAGE,
    "resnet50": _IMAGE,
    "inception_v3": (1, 299, 299, 3),
    "slowfast_r50_4x16": (32, 224, 224, 3),
    "slowfast_r50_8x8": (32, 224, 224, 3),
    "slow_r50": (8, 224, 224, 3),
    "fast_r50": (32, 224, 224, 3),
    "i3d_r50": (8, 224, 224, 3),
    "c2d_r50": (8, 224, 224, 3),
    "slow_r18_small": (8, 224, 224, 3),
    "slowfast_r18_small": (32, 224, 224, 3),
    "capsnet": (1, 28, 28, 1),
    "capsnet_baseline": (1, 28, 28, 1),
    "capsule_video": (16, 48, 48, 3),
    "cnn_lstm": (16, 170, 170, 3),
    "flow_cnn": (10, 224, 224, 3),
    "two_stream": (10, 224, 224, 3),
    "siamese": (100, 100, 100, 3),
    "capsule_lstm": (16, 48, 48, 3),
    "pose_lstm": (32, 33, 3),
}
_CLASSES = {
    "capsnet": 10,
    "capsnet_baseline": 10,
    "capsule_video": 8,
    "capsule_lstm": 8,
}  # of the others: Kinetics-400's
_CLASSES |= dict.fromkeys(image_fusion.NETWORKS, 1000)  # ImageNet's
_OPTIONS = {"vgg19": {"head": "full"}}  # where the defaults are not the paper's
# Models whose paper is not what the first line of their file begins with.
_PAPERS = {
    **dict.fromkeys(("i3d_r50", "c2d_r50"), 'Wang et al. 2018, "Non-local Neural Networks" (CVPR)'),
    "capsule_video": 'after Duarte, Rawat and Shah 2018, "VideoCapsuleNet" (NeurIPS)',
    "cnn_lstm": 'Donahue et al. 2015, "Long-term Recurrent Convolutional Networks for Visual Recognition and'
    ' Description" (CVPR)',
    "capsule_lstm": "no paper: the class capsules of `capsule_video` for each segment, and LSTM cells",
    "pose_lstm": "no paper: a dense layer and LSTM cells over the joints of each frame",
    "siamese": 'after Martin et al. 2018, "Sport Action Recognition with Siamese Spatio-Temporal CNNs" (CBMI)',
}


def zoo_page(names: Iterable[str] = models.MODELS) -> str:
    """One row for each model that vidjax has by name."""
    of_model = configs()
    rows = [_model(name, of_model[name]) for name in names]
    heads = ["`model.name`", "paper", "parameters", "classes", "GMACs", "at", "in `configs/`", "weights"]
    papers = dict.fromkeys(map(_paper, names))
    return f"{table(heads, rows)}\n\nThe papers:\n\n" + "\n".join(f"- {paper}" for paper in papers)


def _model(name: str, config: str) -> list[str]:
    classes, shape = _CLASSES.get(name, 400), VIEWS[name]
    model = models.create(name, classes, **_OPTIONS.get(name, {}))
    channels = {each: 2 if each == "flow" else shape[-1] for each in models.input_names(model)}
    counts = models.summary(model, **{each: (1, *shape[:-1], c) for each, c in channels.items()})
    size = "x".join(map(str, shape[:3]))
    macs = f"{counts.macs / 1e9:.3g}" if counts.macs < 1e9 else f"{counts.macs / 1e9:.1f}"
    authors = _paper(name).partition(', "')[0]
    shown = [f"`{name}`", authors, f"{counts.parameters:,}", str(classes), macs, size, f"`{config}`"]
    return [*shown, _weights(name)]


def _paper(name: str) -> str:
    """The paper, from the first line of the file of the model."""
    if name in _PAPERS:
        return _PAPERS[name]
    kind = image_fusion.BACKBONES.get(name) or models.MODELS[name]
    kind = kind.func if isinstance(kind, functools.partial) else kind
    line = (inspect.getdoc(inspect.getmodule(kind)) or "").splitlines()[0]
    ends = r"(?<=\))[:.,]" if re.search(r"\)[:.,]", line) else ": "  # titles have colons, too
    return re.split(ends, line)[0].strip()


def configs() -> dict[str, str]:
    """Model -> the file in configs/ that trains it, with its argument."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "configs").glob("*.py")):
        if path.stem == "default":
            continue
        text = path.read_text(encoding="utf-8")
        key = next((key for key in ("variant", "backbone") if f"{key}=" in text), None)
        for variant in ("", *(f":{key}={name}" for name in models.MODELS if key)):
            argument = f"{path}{variant}"
            try:
                name = loading.load(argument).model.name
            except vidjax.errors.ConfigError:
                continue
            if not variant or name == variant.removeprefix(f":{key}="):
                found.setdefault(name, f"{path.name}{variant}")
    return found


def _weights(name: str) -> str:
    """Published weights, and the layouts of PyTorch's checkpoints that can be read."""
    kind = models.MODELS[name]
    kind = kind.func if isinstance(kind, functools.partial) else kind
    own = [f"`{key}`" for key, info in CATALOG.items() if info.model == name]
    if name in image_fusion.BACKBONES:
        read = [layout for layout, networks in importers.IMAGE_NETWORKS.items() if name in networks]
        return ", ".join([*own, f"reads {', '.join(read)}"])
    read = [
        each
        for each, function in importers.IMPORTERS.items()
        if kind.__name__ in (inspect.getdoc(function) or "").splitlines()[0] and "small" not in name
    ]
    return ", ".join(own + ([f"reads {', '.join(read)}"] if read else [])) or "-"


# ---------------------------------------------------------------------------------------------------------- the API


def packages() -> dict[str, list[str]]:
    """Package -> its modules: a page of the API reference for each."""
    found: dict[str, list[str]] = {"vidjax": ["vidjax"]}
    for info in pkgutil.walk_packages(vidjax.__path__, "vidjax."):
        if info.name.endswith("__main__"):
            continue
        package = info.name if info.ispkg else info.name.rpartition(".")[0]
        found.setdefault(package, []).append(info.name)
    return found


def api_pages() -> Iterator[tuple[str, str]]:
    """File name -> content, of the pages of the API reference."""
    found = packages()
    listed = "\n".join(f"   {name}" for name in found)
    yield "index.rst", f"API reference\n=============\n\n{_ABOUT_API}\n\n.. toctree::\n   :maxdepth: 1\n\n{listed}\n"
    for package, modules in found.items():
        parts = [f"{package}\n{'=' * len(package)}"]
        for name in modules:
            title = name if name != package else f"{name}: the package"
            if not importlib.import_module(name).__doc__:  # of a package that holds nothing itself
                continue
            parts.append(f"{title}\n{'-' * len(title)}\n\n.. automodule:: {name}\n   :ignore-module-all:")
            if exported := getattr(importlib.import_module(name), "__all__", ()):
                parts.append(f"From here: {', '.join(f'``{each}``' for each in exported)}.")
        yield f"{package}.rst", "\n\n".join(parts) + "\n"


_ABOUT_API = "Every public module, from its docstrings. ``ARCHITECTURE.md`` says how they belong together."

BLOCKS: dict[str, Callable[[], str]] = {"configuration": configuration_page, "model_zoo": zoo_page}


def _fill(app, docname, source) -> None:
    source[0] = _MARK.sub(lambda mark: BLOCKS[mark[1]](), source[0])


def _write_api(app) -> None:
    API.mkdir(exist_ok=True)
    pages = dict(api_pages())
    for path in API.glob("*.rst"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = API / name
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


def setup(app) -> dict[str, bool]:
    app.connect("builder-inited", _write_api)
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
