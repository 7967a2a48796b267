from vidjax.doctor.caches import check_caches
from vidjax.doctor.findings import OK, PROBLEM


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path / "file" / "cache"))
    (found,) = check_caches()
    assert found.status == PROBLEM and "VIDJAX_CACHE=FOLDER" in found.text


def test_what_the_caches_hold(tmp_path, monkeypatch):
    monkeypatch.setenv("VIDJAX_CACHE", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")  # the tests' own
    (tmp_path / "motion" / "set").mkdir(parents=True)
    (tmp_path / "motion" / "set" / "clip.avi").write_bytes(b"x" * 2500)
    (found,) = check_caches()
    assert found.status == OK and "motion 2.5 kB" in found.text and "compiled" not in found.text
