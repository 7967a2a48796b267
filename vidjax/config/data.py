"""What `config.data`, and the views of `config.evaluate`, describe: source, clip and views. Imports no JAX."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from vidjax.config import declarations, sections
from vidjax.data import computed
from vidjax.data.clips import ClipSpec
from vidjax.data.computed import Computation
from vidjax.data.flow.fields import FlowSettings
from vidjax.data.pose.poses import DETECTORS, PoseSettings
from vidjax.data.records import Source
from vidjax.data.sources import SOURCES
from vidjax.data.sources.partition import check_source
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError, DataError, options_of
from vidjax.options import choosing
from vidjax.system import terminal

_FLOW_SHORT_SIDE = 256  # pixels, where nothing else says how large frames are


def source(config: ConfigDict) -> Source:
    """Builds the data source that `config.data` names; files of computed streams may be missing (`with_computed`).

    Raises:
      ConfigError: for an unknown name or an option that the source does not take.
      DataError: if the data are incomplete or contradict themselves.
    """
    check_source_options(config)
    name, factory, given = _source_options(config)
    with options_of("data"):
        built = choosing.build("data source", SOURCES, name, factory=factory, options=given)
    if factory:
        check_source(factory, built)
    with options_of("data"):
        for computation in computations(config):
            built = computed.with_streams(built, computation)
    return built


def with_computed(
    config: ConfigDict,
    source: Source,
    parts: Sequence[str] = ("train", "validation", "test"),
    *,
    shard: tuple[int, int] = (0, 1),
    threads: int | None = None,
    may_compute: bool = True,
    only: str | None = None,
) -> Source:
    """Computes the streams of videos that are not in the cache yet, flow and poses, where they are going to be read.

    Args:
      config: resolved.
      source: by `source(config)`, possibly reduced to some of its inputs.
      parts: of it, that are going to be read.
      shard: (i, n): only every n-th of the missing videos from i on.
      threads: videos at once; None: as many as this process has cores.
      may_compute: whether what is missing is computed, or refused.
      only: the stream that is computed; None: all.

    Raises:
      DataError: if something to install or download is missing, nothing can be written, or something is missing that
        must not be computed.
    """
    for computation in computations(config):
        names = [spec.stream_name for spec in source.inputs]
        if computation.NAME not in names or only not in (None, computation.NAME):
            continue
        todo = computed.missing(source, computation, parts)[shard[0] :: shard[1]]
        if todo and not may_compute:
            raise DataError(
                f"{computation.TITLE} of {len(todo)} videos is missing: with several processes, compute it before by"
                f" python -m vidjax {computation.NAME}"
            )
        title = f"{computation.TITLE} ({computation.method})"
        source = computed.compute(
            source,
            computation,
            todo,
            threads=threads,
            inspect_progress=lambda records, total: terminal.track(
                records, total, "checking each video once", "videos"
            ),
            progress=functools.partial(terminal.track, description=title, unit="videos"),
        )
    return source


def computations(config: ConfigDict) -> list[Computation]:
    """What is computed of the videos, once.

    Raises:
      ConfigError: for an unknown name, or an option of what is not computed.
    """
    return [each for each in (flow_settings(config), pose_settings(config)) if each is not None]


def pose_settings(config: ConfigDict) -> PoseSettings | None:
    """How poses of the videos are found; None if they are not.

    Raises:
      ConfigError: for an unknown detector.
    """
    name, factory = config.data.get("pose"), config.data.get("pose_factory")
    if name is None and factory is None:
        return None
    if name is not None and factory is not None:
        raise ConfigError(f"data.pose={name} and data.pose_factory={factory}: give one of them")
    function = choosing.resolve("pose detector", DETECTORS, name or "", factory)
    if factory:
        choosing.check_call("pose detector", factory, function, 0, ())
    return PoseSettings(name or factory, function)


def flow_settings(config: ConfigDict) -> FlowSettings | None:
    """How the flow of the videos is computed; None if it is not.

    Raises:
      ConfigError: for an option without data.flow.
    """
    keys = {key: f"flow_{key}" for key in ("short_side", "bound", "camera", "percentile")}
    given = {key: value for key, name in keys.items() if (value := config.data.get(name)) is not None}
    if config.data.get("flow") is None:
        for key, value in given.items():
            raise ConfigError(f"data.{keys[key]}={value} has no effect without data.flow")
        return None
    if "bound" in given and "percentile" in given:
        raise ConfigError(f"data.flow_bound={given['bound']} and data.flow_percentile: give one of them")
    with options_of("data"):
        for name in ("flow", *keys.values()):
            if config.data[name] is not None:
                sections.KEYS["data"][name].option.check(name, config.data[name])
        short_side = given.pop("short_side", None) or config.data.short_side or _FLOW_SHORT_SIDE
        return FlowSettings(config.data.flow, short_side, **given)


def check_source_options(config: ConfigDict) -> None:
    """Refuses an unknown data source, and options that it needs or does not take; looks at no data.

    Raises:
      ConfigError: naming them.
    """
    name, factory, given = _source_options(config)
    function = choosing.resolve("data source", SOURCES, name, factory)
    declarations.check_required("data", config.data)
    with options_of("data"):
        choosing.check("data source", SOURCES, factory or name, function, given)
    if factory:
        choosing.check_call("data source", factory, function, 0, given)
    computations(config)


def _source_options(config: ConfigDict) -> tuple[str, str | None, dict[str, Any]]:
    """Name, factory, and the options that were given."""
    given = {key: value for key, value in sections.of_choice("data", config.data).items() if value is not None}
    return config.data.name, config.data.factory, given


def clip(config: ConfigDict) -> ClipSpec:
    """Builds the description of what is cut from a video; what letterbox adds is the mean color."""
    fields = {field.name for field in dataclasses.fields(ClipSpec)}
    given = {key: value for key, value in config.data.items() if key in fields and value is not None}
    mean = config.preprocessing.mean
    padding = tuple(round(min(max(each, 0.0), 255.0)) for each in (mean if isinstance(mean, tuple) else (mean,)))
    with options_of("data"):
        return ClipSpec(**given, padding=padding)


def test_views(config: ConfigDict) -> ViewSpec:
    """The views per test video. Several crops are cut at the size that the model sees, so they reach the edges."""
    evaluate, side = config.evaluate, config.evaluate.crop or config.preprocessing.crop
    with options_of("evaluate"):
        views = ViewSpec(evaluate.clips, evaluate.crops, evaluate.flip, None if evaluate.crops == "center" else side)
    if views.crops != "center" and config.data.crop_position == "motion":
        raise ConfigError(
            f"evaluate.crops={views.crops}: with data.crop_position=motion test clips are cut where they move, too: set"
            " evaluate.crops=center"
        )
    if views.crops == "ten" and config.data.crop_position == "center" and side in (None, config.data.crop):
        raise ConfigError(
            f"evaluate.crops=ten: only two would differ, since the model sees all of data.crop={config.data.crop}:"
            " give a smaller preprocessing.crop, or data.crop_position=random for corners of the whole frame"
        )
    return views


def validation_views(config: ConfigDict) -> ViewSpec:
    """The views per validation video: center crops, not mirrored."""
    return ViewSpec(config.evaluate.validation_clips)
