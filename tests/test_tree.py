"""The syntax tree of the product: nothing in it runs what it reads."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = (
    "bfc_core",
    "store",
    "api",
    "worker",
    "launch",
    "bfc_client",
    "migrations",
    "web",
    "examples",
    "bench",
)
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
CALLS = {"eval", "exec", "compile", "__import__"}
#: attributes that unpickle or execute, whatever module they hang on
ATTRIBUTES = {
    ("torch", "load"),
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("yaml", "full_load"),
    ("os", "system"),
    ("os", "popen"),
}


def faults(tree: ast.AST) -> list[str]:
    """What a tree does that it may not, each with its line."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [
                f"{node.lineno}: import {name.name}"
                for name in node.names
                if name.name.split(".")[0] in MODULES
            ]
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in MODULES:
            found.append(f"{node.lineno}: from {node.module} import …")
        elif isinstance(node, ast.Call):
            found += [f"{node.lineno}: {said}" for said in _called(node)]
    return found


def _called(node: ast.Call) -> list[str]:
    function = node.func
    options = {option.arg: option.value for option in node.keywords}
    allowed = [name for name in ("allow_pickle", "shell") if _is_true(options.get(name))]
    if isinstance(function, ast.Name) and function.id in CALLS:
        allowed.append(f"{function.id}(…)")
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        name = (function.value.id, function.attr)
        allowed += [".".join(name) + "(…)"] if name in ATTRIBUTES else []
    return allowed


def _is_true(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


def test_there_is_a_tree_to_look_at() -> None:
    assert len(FILES) > 100


@pytest.mark.parametrize("room", ROOMS)
def test_no_pickle_eval_shell_or_unsafe_yaml(room: str) -> None:
    for path in FILES:
        if path.relative_to(ROOT).parts[0] == room:
            assert faults(ast.parse(path.read_text())) == [], path


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from pickle import loads", "eval('1')", "exec('1')", "torch.load(p)", "yaml.load(f)",
        "np.load(p, allow_pickle=True)", "subprocess.run('ls', shell=True)", "import torch, dill",
    ],
)  # fmt: skip
def test_the_look_finds_what_it_looks_for(code: str) -> None:
    assert faults(ast.parse(code)) != []


@pytest.mark.parametrize(
    "code", ["model.eval()", "np.load(p, allow_pickle=False)", "re.compile(p)", "yaml.safe_load(f)"]
)
def test_the_look_leaves_the_harmless_alone(code: str) -> None:
    assert faults(ast.parse(code)) == []
