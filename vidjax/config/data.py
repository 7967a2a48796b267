"""What `config.data`, and the views of `config.evaluate`, describe: source, clip and views. Imports no JAX."""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from vidjax.config import declarations, sections
from vidjax.data.clips import ClipSpec
from vidjax.data.records import Source
from vidjax.data.sources import SOURCES
from vidjax.data.sources.partition import check_source
from vidjax.data.views import ViewSpec
from vidjax.errors import ConfigError, options_of
from vidjax.options import choosing


def source(config: ConfigDict) -> Source:
    """Builds the data source that `config.data` names.

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
    return built


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
    if views.crops == "ten" and config.data.crop_position == "center" and side in (None, config.data.crop):
        raise ConfigError(
            f"evaluate.crops=ten: only two would differ, since the model sees all of data.crop={config.data.crop}:"
            " give a smaller preprocessing.crop, or data.crop_position=random for corners of the whole frame"
        )
    return views


def validation_views(config: ConfigDict) -> ViewSpec:
    """The views per validation video: center crops, not mirrored."""
    return ViewSpec(config.evaluate.validation_clips)
