from vidjax.doctor import packages
from vidjax.doctor.findings import OK, PROBLEM, WARNING

SECONDS = 120.0


def require(monkeypatch, *lines):
    monkeypatch.setattr(packages, "required_packages", lambda: list(lines))


def by_name(findings):
    return {finding.name: finding for finding in findings}


def test_versions_against_what_was_tested(modules, monkeypatch):
    names = ("fitting", "outdated", "untried", "broken")
    modules({name: "raise ValueError('no luck')" if name == "broken" else "" for name in names})
    modules(packages={"fitting": ["1.5"], "outdated": ["0.9"], "untried": ["2.0"], "broken": ["1.0"]})
    require(monkeypatch, *(f"{name}>=1,<2" for name in names), "absent>=1", 'elsewhere>=1; sys_platform == "none"')
    found = by_name(packages.check_packages(SECONDS))
    assert set(found) == {*names, "absent"}
    statuses = {name: finding.status for name, finding in found.items()}
    assert statuses == {"fitting": OK, "outdated": WARNING, "untried": WARNING, "broken": PROBLEM, "absent": PROBLEM}
    assert "0.9 is older" in found["outdated"].text and "2.0 is newer" in found["untried"].text
    assert "ValueError: no luck" in found["broken"].text and "missing: pip install" in found["absent"].text


def test_what_is_installed_may_still_not_fit_vidjax(modules, monkeypatch):
    modules({"fine": ""}, {"fine": ["1.0"]})
    require(monkeypatch, "fine>=1")
    monkeypatch.setattr(
        packages, "_import_errors", lambda names, seconds: {"fine": None, "vidjax.train": "no attribute"}
    )
    found = by_name(packages.check_packages(SECONDS))
    assert found["fine"].status == OK
    assert found["vidjax"].status == PROBLEM and "no attribute" in found["vidjax"].text


def test_decord_or_its_fork(monkeypatch):
    monkeypatch.setattr(packages, "installed_version", {"decord2": "3.4"}.get)
    require(monkeypatch, "decord>=0.6")
    (found,) = packages.check_packages(SECONDS)
    assert found.status == OK and "decord2" in found.text


def test_a_module_that_kills_or_hangs_its_process_is_named(modules):
    sources = {
        "quiet": "",
        "talking": "print('hello'); print('{}')",
        "crashing": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "leaving": "raise SystemExit(3)",
        "hanging": "import time; time.sleep(60)",
        "last": "",
    }
    modules(sources)
    errors = packages._import_errors(list(sources), 2.5)
    assert errors["quiet"] is errors["talking"] is errors["last"] is None
    assert "signal 11" in errors["crashing"] and "status 3" in errors["leaving"]
    assert errors["hanging"] == "no answer within 5 s"


def test_without_the_library_of_convolutions_all_works_more_slowly(monkeypatch):
    require(monkeypatch, "onednn-cpu-gomp==2023.2.0")
    versions = {}
    monkeypatch.setattr(packages, "installed_version", versions.get)
    (missing,) = packages.check_packages(SECONDS)
    assert missing.status == WARNING and "missing: pip install" in missing.text and "slower" in missing.text
    versions["onednn-cpu-gomp"] = "2023.2.0"
    error = "oneDNN cannot be loaded: libgomp.so.1"
    monkeypatch.setattr(
        packages, "_import_errors", lambda names, seconds: dict.fromkeys(names, None) | {names[0]: error}
    )
    found = by_name(packages.check_packages(SECONDS))["onednn-cpu-gomp"]
    assert found.status == WARNING and error in found.text and "slower" in found.text
