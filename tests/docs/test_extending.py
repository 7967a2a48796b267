"""What docs/extending.md shows is what happens."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from vidjax import configuration, key_help
from vidjax.checks import check_config, check_shapes
from vidjax.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent.parent
SECTION = (ROOT / "docs" / "extending.md").read_text().split("\n## ")[1]


def test_a_model_with_an_option(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    (code,) = re.findall("```python\n(.*?)```", SECTION, re.DOTALL)
    (command,) = re.findall("```bash\n(.*?)```", SECTION, re.DOTALL)
    (tmp_path / "my_models.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    _, launcher, file, *typed = shlex.split(command)
    assert launcher == "launch.py"
    file = f"{ROOT}/{file.removeprefix('--config=')}"
    config = configuration.load(file, configuration.config_overrides(typed))
    check_config(config)
    check_shapes(config)
    assert config.model.hidden == 64
    shown = key_help.on_keys(["launch.py", f"--config={file}", *typed])
    (line,) = re.findall(r"`(--config\.model\.hidden=None.*?)`", SECTION)
    assert f"  {line}\n      units of the hidden layer\n" in shown
    with pytest.raises(ConfigError, match="model.hidden=0: give at least 1"):
        check_config(configuration.load(file, {"model.factory": "my_models:MeanColour", "model.hidden": 0}))
