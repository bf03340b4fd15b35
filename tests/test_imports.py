"""The one-way street: imports run down the list below and never up. Read from the sources, nothing is imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parent.parent / "src" / "waystation"

# From top to bottom; names on one line are one level and may import each other. A dotted name is a module that lies
# on another level than its package. `plan` stands above `tasks` deliberately: it asks them for fingerprints and sizes.
# `scoring` needs nothing of the project but errors, so that a study can check the names of its metrics.
STREET: list[list[str]] = [
    ["cli", "cli_data", "cli_show", "cli_xtreme", "cli_study", "cli_use", "__main__"],
    ["doctor"],
    ["rounds"],
    ["report"],
    ["analysis"],
    ["engines", "exchange"],
    ["steps"],
    ["evaluation"],
    ["training"],
    ["models", "formats"],
    ["costs", "retention", "chains"],
    ["plan", "plan_encodings", "plan_steps"],
    ["tasks"],
    ["tasks.fetching", "tasks.mini", "tasks.reading"],
    ["store", "predictions"],
    ["study", "study_checks", "study_file", "study_arms", "study_methods", "uses"],
    [
        *("records", "tasks.task", "tasks.examples", "tasks.known"),
        *("steps.records", "steps.recipes", "steps.translation", "backbones", "yamlfile"),
    ],
    ["languages", "places", "scoring"],
    ["errors"],
]
LEVEL = {name: level for level, names in enumerate(STREET) for name in names}
# `waystation/__init__.py` is the library's front door. It loads with every module of the package, so at import time it
# may bring these alone; the rest of what it offers it imports when asked (in `__getattr__`, or for a type checker).
FRONT_DOOR = {"study", "plan"}
FRONT_DOOR_WHEN_ASKED = {"rounds", "analysis.table", "exchange.predict"}
HEAVY = ("torch", "transformers", "numpy", "pyarrow")
MOST_LINES = 400


def module_name(path: Path, src: Path = SRC) -> str:
    """``tasks.task`` for ``src/waystation/tasks/task.py``; empty for the package itself."""
    parts = list(path.relative_to(src).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def level_of(module: str) -> int | None:
    """The level of a module: its own where it has one, else its package's; None where nobody placed it."""
    parts = module.split(".")
    for size in range(len(parts), 0, -1):
        if (level := LEVEL.get(".".join(parts[:size]))) is not None:
            return level
    return None


def is_module(name: str, src: Path = SRC) -> bool:
    path = src / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or path.is_dir()


def imported(path: Path, src: Path = SRC) -> list[tuple[int, str]]:
    """(line, module inside waystation) for every import of a file, wherever it stands: in a function, under
    TYPE_CHECKING, or by name through ``import_module``. The package itself is the empty string."""
    here = ["waystation", *filter(None, module_name(path, src).split("."))]
    package = here if path.name == "__init__.py" else here[:-1]
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                is_inner = inner.startswith("waystation.") and is_module(inner.removeprefix("waystation."), src)
                # Anything but the version from the package itself comes through the front door, from some level unseen:
                # it is named as if it were a module, and no level will be found for it.
                hidden = module == "waystation" and alias.name != "__version__"
                names.append(inner if is_inner or hidden else module)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in ("import_module", "__import__"):
                names = [str(node.args[0].value)]
        for name in names:
            if name == "waystation" or name.startswith("waystation."):
                found.append((node.lineno, name.removeprefix("waystation").removeprefix(".")))
    return found


def complaints(path: Path, src: Path = SRC) -> list[str]:
    """What is wrong with the imports of one file."""
    name = module_name(path, src)
    where = path.relative_to(src)
    if name and level_of(name) is None:
        return [f"{where}: waystation.{name} is on no level; give it one in STREET of tests/test_imports.py"]
    wrong = []
    at_once = {node.lineno for node in ast.parse(path.read_text(encoding="utf-8")).body}
    for line, target in dict.fromkeys(imported(path, src)):
        if not target:
            continue  # the version
        level = level_of(target)
        if level is None:
            wrong.append(f"{where}:{line}: waystation.{target} is on no level; give it one in tests/test_imports.py")
        elif not name:
            allowed = FRONT_DOOR if line in at_once else FRONT_DOOR | FRONT_DOOR_WHEN_ASKED
            if target not in allowed:
                wrong.append(f"{where}:{line}: the front door imports {target} here; only {', '.join(sorted(allowed))}")
        elif level < (level_of(name) or 0):
            wrong.append(f"{where}:{line}: {name} imports {target}, which stands above it")
    return wrong


def sources() -> list[Path]:
    return sorted(SRC.rglob("*.py"))


def test_imports_run_down_the_street() -> None:
    assert sources()
    wrong = [complaint for path in sources() for complaint in complaints(path)]
    assert not wrong, "\n" + "\n".join(wrong)


def test_a_package_with_modules_on_a_lower_level_imports_nothing() -> None:
    """Importing ``tasks.task`` runs ``tasks/__init__.py`` too: whatever that imported would come along unseen."""
    for package in {name.split(".")[0] for name in LEVEL if "." in name}:
        path = SRC / package / "__init__.py"
        assert not path.exists() or imported(path) == [], f"{path.relative_to(SRC)} must import nothing of waystation"


def test_no_file_is_too_long() -> None:
    long = {
        str(path.relative_to(SRC)): n for path in sources() if (n := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert not long, f"longer than {MOST_LINES} lines, split: {long}"


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("store.py", "from waystation.errors import InputError", ""),
        ("store.py", "from waystation.plan import x", "store imports plan, which stands above it"),
        ("store.py", "def f():\n    from waystation import plan", "store.py:2: store imports plan"),
        ("store.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import waystation.cli", "imports cli"),
        ("store.py", "from importlib import import_module\nimport_module('waystation.rounds')", "imports rounds"),
        ("store.py", "from . import plan", "imports plan"),
        ("tasks/sources.py", "from ..steps.records import x", ""),
        ("tasks/sources.py", "from ..steps import run", "tasks.sources imports steps"),
        ("tasks/sources.py", "from .task import Task", ""),
        (
            "tasks/reading/readers.py",
            "from waystation.tasks.sources import x",
            "tasks.reading.readers imports tasks.sources",
        ),
        ("tasks/task.py", "from waystation.tasks.sources import read", "tasks.task imports tasks.sources"),
        ("models/a.py", "from waystation.formats.tagging import x", ""),
        ("cli.py", "import waystation.novelty", "waystation.novelty is on no level"),
        ("cli.py", "from waystation import __version__", ""),
        ("cli.py", "from waystation import Study", "waystation.Study is on no level"),
        ("novelty.py", "import os", "waystation.novelty is on no level"),
        ("__init__.py", "from waystation.study import Study", ""),
        ("__init__.py", "from waystation.store import Store", "the front door imports store"),
        ("__init__.py", "from waystation.rounds import run", "the front door imports rounds here"),
        ("__init__.py", "def f():\n    from waystation.rounds import run", ""),
    ],
)
def test_the_rules_themselves(tmp_path: Path, file: str, text: str, expected: str) -> None:
    for module in ("plan.py", "steps/records.py"):
        (tmp_path / module).parent.mkdir(exist_ok=True)
        (tmp_path / module).touch()
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    found = complaints(path, tmp_path)
    assert (expected in " ".join(found)) if expected else found == []


@pytest.mark.parametrize(
    "code",
    [
        "import waystation",
        "import waystation, waystation.study, waystation.plan",
        "import sys; sys.argv = ['waystation', '--help']; from waystation.cli import main; main()",
    ],
)
def test_light_commands_load_nothing_heavy(code: str) -> None:
    """Importing Waystation and asking it for help is quick: none of the large libraries comes along."""
    lines = [
        "import atexit, sys",
        f"show = lambda: print('LOADED', [m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)",
        "atexit.register(show)",
        code,
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stderr, done.stderr
