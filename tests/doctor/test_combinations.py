from vidjax.doctor.combinations import check_combinations
from vidjax.doctor.findings import WARNING


def test_packages_that_do_not_fit_together(modules):
    modules(
        packages={
            "opencv-python": ["4.14"],
            "opencv-python-headless": ["4.14"],
            "jax-cuda12-plugin": ["0.1.2"],
            "old-exporter": ["1.0", "jax<0.4", "absent<1", 'flax<0.1; extra == "all"'],
        }
    )
    found = {finding.name: finding for finding in check_combinations()}
    assert set(found) == {"opencv-python", "jax-cuda12-plugin", "jax"}
    assert all(finding.status == WARNING for finding in found.values())
    assert "opencv-python and opencv-python-headless" in found["opencv-python"].text
    assert "old-exporter 1.0 asks for jax<0.4" in found["jax"].text
