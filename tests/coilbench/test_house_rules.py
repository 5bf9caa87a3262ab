"""Rules that every package keeps: documented, typed, small modules, licences of what we depend on."""

from __future__ import annotations

import ast
import importlib.util
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = ("coilbench", "drivers", "coils", "acquisition", "recon", "hil_fixtures")


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        for folder in spec.submodule_search_locations or ():
            yield from sorted(Path(folder).rglob("*.py"))


def public(tree: ast.AST, *, outer: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield f"{outer}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public(node, outer=f"{node.name}.")


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_public_name_is_documented_and_typed(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    missing = [] if ast.get_docstring(tree) else ["the module has no docstring"]
    for name, node in public(tree):
        if not ast.get_docstring(node):
            missing.append(f"{name} has no docstring")
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            untyped = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
            if untyped or node.returns is None:
                missing.append(f"{name} is not fully typed: {untyped or 'return'}")
    assert not missing


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_module_is_longer_than_500_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


def test_nothing_we_depend_on_at_run_time_is_gpl() -> None:
    """Every run-time dependency states a permissive licence or LGPL; extras are the user's choice."""
    requirements = [line for line in metadata.requires("coilbench") or [] if "extra ==" not in line]
    names = re.findall(r"^[A-Za-z0-9_.-]+", "\n".join(requirements), re.MULTILINE)
    assert len(names) > 10
    for name in names:
        about = metadata.metadata(name)
        stated = " ".join([about.get("License-Expression", ""), about.get("License", "")[:200]])
        stated += " ".join(line for line in about.get_all("Classifier", []) if line.startswith("License"))
        without_lesser = stated.replace("LGPL", "").replace("Lesser General Public", "")
        assert stated.strip(), name
        assert "GPL" not in without_lesser, (name, stated)
        assert "GNU General Public" not in without_lesser, (name, stated)
