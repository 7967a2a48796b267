"""Records stored as JSON objects. Reports read them, so nothing here imports JAX."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from vidjax.errors import DataError
from vidjax.system import files


def optional(kind: "type[Record] | None" = None) -> Any:
    """A field that a file may lack because it does not apply or the file is older; None is not written back.

    Args:
      kind: as in `nested`, if the field holds records.
    """
    return dataclasses.field(default=None, metadata={"record": kind, "left_out": True})


def nested(kind: "type[Record]") -> Any:
    """A field that holds a record, or a list of them."""
    return dataclasses.field(metadata={"record": kind})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """A JSON object: its keys are the fields of the subclass, in their order.

    Attributes:
      extra: keys that only newer versions know; written back after the others.
    """

    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def keys(self) -> Sequence[str]:
        """Keys of the JSON object, in order."""
        own = [field for field in dataclasses.fields(self) if field.name != "extra"]
        return [f.name for f in own if getattr(self, f.name) is not None or not f.metadata.get("left_out")]

    def to_json(self) -> dict[str, Any]:
        """The JSON object."""
        return {name: _content(getattr(self, name)) for name in self.keys()} | dict(self.extra)

    @classmethod
    def from_json(cls, content: Any, where: object) -> Self:
        """Reads a JSON object.

        Args:
          content: parsed JSON.
          where: the file, for error messages.

        Raises:
          DataError: if it is not an object, or lacks a required key.
        """
        if not isinstance(content, Mapping):
            raise DataError(f"{where}: expected a JSON object")
        arguments: dict[str, Any] = {}
        own = [field for field in dataclasses.fields(cls) if field.name != "extra"]
        for field in own:
            if field.name in content:
                value, kind = content[field.name], field.metadata.get("record")
                arguments[field.name] = value if kind is None or value is None else _records(kind, value, where)
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise DataError(f"{where}: lacks the key {field.name!r}; evaluate the run again")
        names = {field.name for field in own}
        return cls(**arguments, extra={name: value for name, value in content.items() if name not in names})

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Reads a file; None if it is missing or not JSON.

        Raises:
          DataError: if it is not an object, or lacks a required key.
        """
        content = files.read_json(path)
        return None if content is None else cls.from_json(content, path)

    def write(self, path: Path) -> None:
        """Writes a file atomically."""
        files.write_json(path, self.to_json())


def _content(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, list | tuple) and value and isinstance(value[0], Record):
        return [each.to_json() for each in value]
    return value


def _records(kind: type[Record], value: Any, where: object) -> Any:
    return [kind.from_json(each, where) for each in value] if isinstance(value, list) else kind.from_json(value, where)
