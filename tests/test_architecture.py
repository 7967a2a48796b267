"""The arrows of ARCHITECTURE.md, read from the imports: TYPE_CHECKING ones count as none, those in functions do."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Imports within functions that may close a circle, (importer, imported), with the reason. None at present.
ALLOWED: dict[tuple[str, str], str] = {}


def modules(root=ROOT / "vidjax"):
    """Name -> file of every module."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = [root.name, *path.relative_to(root).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(name, path, known):
    """The modules that a module imports, and the names of packages outside."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()

    def visit(node):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                visit(other)
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join(
                    [*package.split(".")[: len(package.split(".")) - node.level + 1], *filter(None, [base])]
                )
            for alias in node.names:
                within = f"{base}.{alias.name}"
                found.add(within if within in known else base)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found - {name}


@pytest.fixture(scope="module")
def imports():
    known = modules()
    return {name: imported(name, path, known) for name, path in known.items()}


def circles(imports):
    """The sets of modules that import each other, in a circle (Tarjan 1972: strongly connected components)."""
    order, low, stack, found = {}, {}, [], []

    def visit(name):
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in sorted(imports[name] & imports.keys()):
            if (name, other) in ALLOWED:
                continue
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            component = set(stack[stack.index(name) :])
            del stack[stack.index(name) :]
            if len(component) > 1:
                found.append(component)

    for name in imports:
        if name not in order:
            visit(name)
    return found


def test_no_module_imports_itself_through_others(imports):
    assert circles(imports) == []


def reached(imports, start):
    """All that importing a module imports."""
    seen, waiting = set(), [start]
    while waiting:
        for other in imports.get(waiting.pop(), ()):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen


def room(name):
    """The folder of a module, "models" of "vidjax.models.c3d"; the module itself where it lies in none."""
    return name.split(".")[1] if name.count(".") else name


# The rooms, from the lowest to the highest: each imports none above it, whether at once or within a function.
ORDER = [
    "errors",
    "system",
    "options",
    "layers",
    "models",
    "data",
    "preprocessing",
    "evaluation",
    "training",
    "pretrained",
    "reporting",
    "config",
    "inference",
    "evaluate",
    "train",
    "experiment",
    "doctor",
    "cli",
    "__main__",
]
# What reporting takes of the other rooms: records, and what is computed from them.
REPORTING = {
    "vidjax.evaluation",
    "vidjax.evaluation.metrics",
    "vidjax.evaluation.predictions",
    "vidjax.evaluation.record",
    "vidjax.evaluation.result",
    "vidjax.evaluation.statistics",
    "vidjax.training",
    "vidjax.training.metrics_line",
}


def test_every_room_has_its_place_in_the_order(imports):
    assert {room(module) for module in imports} - {"vidjax"} == set(ORDER)


def test_no_room_imports_one_above_it(imports):
    wrong = [
        f"{module} -> {other}"
        for module, others in imports.items()
        for other in others & imports.keys()
        if module != "vidjax" and other != "vidjax" and ORDER.index(room(other)) > ORDER.index(room(module))
    ]
    assert wrong == []


def test_reporting_reaches_neither_jax_nor_data(imports):
    for module in imports:
        if room(module) == "reporting":
            found = reached(imports, module)
            assert not {other for other in found if other.split(".")[0] in ("jax", "flax", "optax", "grain")}, module
            assert {other for other in found if room(other) in ("evaluation", "training")} <= REPORTING, module
            assert not {other for other in found if room(other) in ("data", "models")}, module


def test_data_reach_no_room_above_them(imports):
    above = {"training", "models", "layers", "preprocessing", "pretrained", "config", "experiment"}
    for module in imports:
        if room(module) == "data":
            assert not {room(other) for other in reached(imports, module)} & above, module


def test_architectures_are_named_by_the_models_and_their_importers_alone(imports):
    """Everything else takes a model by its name, and by what it offers."""
    papers = {name for name in imports if name.startswith("vidjax.models.")}
    papers -= {f"vidjax.models.{name}" for name in ("calling", "output", "summary")}
    for module, others in imports.items():
        if room(module) != "models" and not module.startswith("vidjax.pretrained.importers"):
            assert not others & papers, module


def test_a_circle_is_found_however_it_is_closed(tmp_path):
    package = tmp_path / "house"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "a": "from house import b",
        "b": "def later():\n    from . import c",
        "c": "import house.a",
        "d": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import house.e",
        "e": "import house.d",
    }.items():
        (package / f"{name}.py").write_text(text)
    known = modules(package)
    found = {name: imported(name, path, known) for name, path in known.items()}
    assert circles(found) == [{"house.a", "house.b", "house.c"}]
