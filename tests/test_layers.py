"""Imports point one way: a folder imports only those below it, and heavy packages are imported where they are used."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "holdfast"
LAYERS = (
    {"core"},
    {
        "control",
        "gradients",
        "heads",
        "images",
        "losses",
        "perturbations",
        "representations",
        "selection",
        "statistics",
        "tables",
    },
    {"training"},
    {"weights"},
    {"augmentations", "models", "tasks", "methods", "evaluations", "inference", "foreign"},
    {"experiments", "reports"},
    {"sklearn"},
    {"reproductions"},
    {"testing", "commands"},
    {"cli", "__main__"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def run_time_imports(path: Path) -> Iterator[str]:
    """Names of modules that importing the file imports: not those in functions or for type checkers only."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            pending.extend(node.orelse)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            pending.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = layer(path)
    for name in run_time_imports(path):
        parts = name.split(".")
        if parts[0] == "holdfast" and len(parts) > 1 and parts[1] in LEVEL:
            assert LEVEL[parts[1]] <= LEVEL[own], f"{own} imports {name}"


def test_every_folder_has_a_layer():
    assert {layer(path) for path in modules()} <= set(LEVEL)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_slow_packages_are_imported_late(path):
    slow = {"matplotlib", "lightning_fabric", "sklearn", "skops", "jsonargparse", "rich", "jinja2", "PIL", "gymnasium"}
    found = {name.split(".")[0] for name in run_time_imports(path)} & slow
    if layer(path) == "reports":  # a report is made after everything else, and by nothing else
        found -= {"jinja2", "rich"}
    if layer(path) == "sklearn":
        found -= {"sklearn"}
    assert not found
