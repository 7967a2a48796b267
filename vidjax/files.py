"""Files that a kill never leaves half written."""

import json
import re
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def to_json(content: Any, *, sort_keys: bool = False) -> str:
    """JSON as it is read and compared: a key on each line, lists of numbers on one."""
    text = json.dumps(content, indent=1, sort_keys=sort_keys)
    # A line break inside of a string is escaped, so that one behind a bracket is always a list's.
    return re.sub(r'\[\n[^\[\]{}"]*\]', lambda numbers: "[" + " ".join(numbers[0][1:-1].split()) + "]", text) + "\n"


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file whole or not at all."""
    write_text(path, to_json(content))


def read_json(path: Path) -> Any:
    """Content of a JSON file; None where it is missing or is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
