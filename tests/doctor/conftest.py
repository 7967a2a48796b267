import os

import pytest


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Makes modules and what pip notes of packages, {name: source} and {name: metadata}, to be found first."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))

    def make(sources=(), packages=()):
        for name, source in dict(sources).items():
            (tmp_path / f"{name}.py").write_text(source)
        for name, (version, *requires) in dict(packages).items():
            folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
            folder.mkdir()
            lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {line}" for line in requires)]
            (folder / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")

    return make
