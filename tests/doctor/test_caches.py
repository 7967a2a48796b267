from tests.refusals import unnamed
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
    for name, size in (("motion/set/clip.avi", 2500), ("weights/a.safetensors", 40), ("features/b/c.npy", 7)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"x" * size)
    (found,) = check_caches()
    assert found.status == OK and "compiled" not in found.text
    assert not unnamed(found.text, "features 7 B, motion 2.5 kB, weights 40 B")
