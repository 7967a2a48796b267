"""Weights on the Hugging Face hub, as "hf:USER/REPO" or "hf:USER/REPO/FILE"; needs the package huggingface_hub."""

from pathlib import Path
from typing import Any

from vidjax.errors import ConfigError, DataError

FILE = "model.safetensors"  # of a repository, where none is named
_SCHEME = "hf:"


def is_address(source: str) -> bool:
    """Whether a source is on the hub."""
    return source.startswith(_SCHEME)


def fetch(source: str) -> str:
    """The file, downloaded into the hub's own cache unless it is there.

    Raises:
      ConfigError: if the package is not installed, or the source names no repository.
      DataError: if it cannot be downloaded.
    """
    hub = _package(source)
    user, _, rest = source.removeprefix(_SCHEME).partition("/")
    name, _, file = rest.partition("/")
    if not user or not name:
        raise ConfigError(f"{source!r} names no repository: give hf:USER/REPO or hf:USER/REPO/FILE")
    try:
        return str(hub.hf_hub_download(f"{user}/{name}", file or FILE))
    except Exception as error:  # of many classes: no network, no such repository or file, no permission, a full disk
        raise DataError(f"{source}: cannot be downloaded: {_first_line(error)}") from error


def push(folder: Path, repository: str, api: Any = None) -> str:
    """Uploads what `python -m vidjax weights export` wrote, and makes the repository if there is none.

    Args:
      folder: with the files.
      repository: "USER/NAME".
      api: `HfApi`, or what stands for it; None: with the user's own login.

    Returns:
      Its address, for `fetch`.

    Raises:
      ConfigError: if the package is not installed.
      DataError: if it cannot be uploaded.
    """
    api = api or _package(repository).HfApi()
    try:
        api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=str(folder))
    except Exception as error:  # of many classes: no network, no login, no permission, a name that is not allowed
        raise DataError(f"{folder}: cannot be uploaded to {repository}: {_first_line(error)}") from error
    return f"{_SCHEME}{repository}"


def _package(source: str) -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ConfigError(f"{source}: the Hugging Face hub needs a package: pip install huggingface_hub") from error
    return huggingface_hub


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
