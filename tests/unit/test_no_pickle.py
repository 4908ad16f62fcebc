"""Nothing that is read is ever run: no pickle, no eval, no loader of objects; one place runs functions of users."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import REPO

FOLDERS = ("ee_spark", "ee_emulator", "pyspark_earthengine", "jobs")
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "jsonpickle"}
CALLS = {"eval", "exec", "__import__", "read_pickle", "to_pickle", "unsafe_load", "full_load"}
SAFE_YAML = {"yaml.SafeLoader", "SafeLoader", "_Loader"}
FUNCTIONS_OF_USERS = {("ee_spark/planner/function.py", "exec")}
"""The one place that runs a file: of a function that the user's own job file names."""


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules that a statement imports; not marshal where that is only to write: it runs nothing."""
    names, module = [alias.name for alias in node.names], getattr(node, "module", None)
    return [] if (module, names) == ("marshal", ["dumps"]) else [module] if module else names


def unsafe(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield what a module does that could run what it reads, and in which line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in imported(node):
                if name.split(".")[0] in MODULES:
                    yield name, node.lineno
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            name = called.rpartition(".")[2]
            given = {word.arg: word.value for word in node.keywords if word.arg}
            allowed = given.get("allow_pickle")
            if called in CALLS or name in CALLS - {"eval", "exec", "__import__"}:
                yield called, node.lineno
            elif allowed is not None and not (isinstance(allowed, ast.Constant) and allowed.value is False):
                yield f"{called}(allow_pickle)", node.lineno
            elif called in ("np.load", "numpy.load") and allowed is None:
                yield f"{called} without allow_pickle=False", node.lineno
            elif called == "torch.load":
                yield called, node.lineno
            elif called in ("yaml.load", "yaml.load_all"):
                loaders = [ast.unparse(given.get("Loader", node.args[1] if len(node.args) > 1 else ast.Constant("")))]
                if not set(loaders) <= SAFE_YAML:
                    yield f"{called}({loaders[0]})", node.lineno


def test_no_code_runs_what_it_reads() -> None:
    files = [path for folder in FOLDERS for path in sorted((REPO / folder).rglob("*.py"))]
    assert len(files) > 150
    found = {(str(path.relative_to(REPO)), what) for path in files for what, _ in unsafe(ast.parse(path.read_text()))}
    assert found == FUNCTIONS_OF_USERS


def test_job_files_are_read_by_a_safe_loader() -> None:
    tree = ast.parse((REPO / "ee_spark" / "core_yaml.py").read_text())
    (loader,) = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == "_Loader"]
    assert [ast.unparse(base) for base in loader.bases] == ["yaml.SafeLoader"]


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "from cloudpickle import loads",
        "def f():\n    import marshal",
        "import numpy as np\nnp.load('x')",
        "np.load('x', allow_pickle=True)",
        "np.savez(f, allow_pickle=flag)",
        "torch.load('x')",
        "yaml.load(text)",
        "yaml.load(text, yaml.Loader)",
        "yaml.unsafe_load(text)",
        "pd.read_pickle('x')",
        "eval(text)",
        "exec(text)",
        "__import__(name)",
    ],
)
def test_a_planted_one_is_found(planted: str, tmp_path: Path) -> None:
    assert list(unsafe(ast.parse(planted)))
