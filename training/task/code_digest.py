"""The digest by which a node and the coordinator know that they train with the same code.

Fed-BioMed's approval covers the text of the training plan only. The plan is short and calls our packages, so the digest
covers every module of ours that the plan imports, at any depth.
"""

from __future__ import annotations

import ast
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]  # the checkout, or site-packages
_PACKAGES: Final = frozenset({"app", "explain", "fedpet", "inference", "reports", "training"})  # beside others there
_PLAN: Final = "training.node.training_plan"


@cache
def code_digest(root: Path = _ROOT) -> str:
    """SHA-256 (hexadecimal) over the names and the content of `plan_sources`.

    Args:
        root: folder that holds our packages; by default that of this installation.
    """
    digest = sha256()
    for source in plan_sources(root):
        content = (root / source).read_bytes()
        digest.update(f"{source}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def plan_sources(root: Path = _ROOT) -> tuple[str, ...]:
    """The files of the training plan's import closure within our packages, relative to `root`, sorted.

    Imports inside functions count; those for type checking only do not. A package counts with its modules.

    Args:
        root: folder that holds our packages; by default that of this installation.
    """
    found: set[str] = set()
    waiting = [_PLAN]
    while waiting:
        module = waiting.pop()
        source = _source(module, root)
        if source is None or source in found:
            continue
        found.add(source)
        parent, _, _ = module.rpartition(".")
        waiting += [parent] if parent else []
        waiting += _imports(ast.parse((root / source).read_bytes()))
    return tuple(sorted(found))


def _source(module: str, root: Path) -> str | None:
    """The file of a module of ours; None for other packages, and for names that are no module."""
    path = module.replace(".", "/")
    if module.split(".", maxsplit=1)[0] not in _PACKAGES:
        return None
    return next((name for name in (f"{path}.py", f"{path}/__init__.py") if (root / name).is_file()), None)


def _imports(tree: ast.AST) -> list[str]:
    """Modules that the code imports; `from a import b` names `a.b` too, which may be a module."""
    names: list[str] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            names += _imports(ast.Module(node.orelse, []))
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            names += _imports(node)
    return names
