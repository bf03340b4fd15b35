"""The decisions of scripts/setup. Every program it would start is answered by a fake; no network, no pip."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "setup"
Answer = tuple[int, str]


def load() -> ModuleType:
    loader = SourceFileLoader("waystation_setup_script", str(SCRIPT))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


class Machine:
    """A pretended machine: answers what the script runs, and remembers it."""

    def __init__(self, module: ModuleType, root: Path) -> None:
        self.module, self.root, self.venv = module, root, root / ".venv"
        self.ran: list[list[str]] = []
        self.version = "3.12.1"
        self.torch = ""
        self.torch_after = "2.13.0+cpu"
        self.pip: Callable[[list[str]], Answer] = lambda command: (0, "")
        self.doctor: Answer = (0, "ok  all is well")

    def make_venv(self, named: Path | None = None) -> None:
        (self.venv / "bin").mkdir(parents=True, exist_ok=True)
        (self.venv / "pyvenv.cfg").write_text("home = /usr\n")
        (self.venv / "bin" / "activate").write_text(f'# comment\nVIRTUAL_ENV="{named or self.venv}"\nexport X\n')
        (self.venv / "bin" / "waystation").touch()

    def run(self, command: list[str], timeout: float | None = None) -> Answer:
        self.ran.append(command)
        if command[-2:] == ["-c", self.module.SUITABLE]:
            return 0, ""
        if "venv" in command:
            self.make_venv()
            return 0, ""
        if command[-1] == self.module.LOOK:
            return 0, json.dumps([self.version, str(self.venv)])
        if "-I" in command:
            return 0, self.version + "\n"
        if "import torch" in command[-1]:
            return (0, self.torch) if self.torch else (1, "ModuleNotFoundError: No module named 'torch'")
        if "pip" in command:
            code, output = self.pip(command)
            if code == 0 and any(part.startswith("torch==") for part in command):
                self.torch = self.torch_after
            return code, output
        if command[-1] == "doctor":
            return self.doctor
        raise AssertionError(f"unexpected: {command}")

    def pips(self) -> list[list[str]]:
        """The arguments of every pip call."""
        return [command[3:] for command in self.ran if command[1:3] == ["-m", "pip"]]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    root = tmp_path / "a checkout"
    root.mkdir()
    (root / "pyproject.toml").write_text("[project]\n")
    (root / "constraints.txt").write_text("# header\nnumpy==2.4.6\ntorch==2.13.0\n")
    module = load()
    machine = Machine(module, root)
    monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(module, "run", machine.run)
    monkeypatch.setattr(module, "has_gpu", lambda: False)
    monkeypatch.setattr(module.platform, "system", lambda: "Linux")
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(module.os, "name", "posix")
    monkeypatch.delenv("WAYSTATION_TORCH", raising=False)
    return machine


def page(version: str = "2.13.0%2Bcpu", index: str = "https://download.pytorch.org/whl/cpu") -> str:
    """What pip says when it has read an index's page."""
    return f"  Found link https://elsewhere/torch-{version}-cp312.whl (from {index}/torch/), version: x\ntorch (2.13.0)"


def cpu_index(command: list[str]) -> Answer:
    return (0, page()) if "index" in command else (0, "")


def test_an_old_python_can_read_the_script() -> None:
    ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 7))


def test_fresh_machine_takes_the_cpu_build(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.pip = cpu_index
    assert machine.module.main([]) == 0
    probe, torch, project = machine.pips()
    assert probe[:3] == ["index", "versions", "torch"] and "--retries" in probe
    assert torch[:2] == ["install", "torch==2.13.0"]
    assert "--no-deps" in torch and machine.module.CPU_INDEX in torch
    assert project[:2] == ["install", "-c"] and project[3:5] == ["-e", ".[dev]"]
    assert not any("index-url" in part for part in project), "the user's own indexes are left alone"
    assert "torch==2.13.0\n" in Path(project[2]).read_text()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["environment", "torch", "waystation", "check", "ok"]


@pytest.mark.parametrize(
    "answer",
    [
        (0, "Could not fetch URL https://download.pytorch.org/whl/cpu/torch/\ntorch (2.13.0)"),  # from find-links
        (0, page(index="https://mirror.example/simple")),
        (0, page(version="2.12.0%2Bcpu")),
        (1, page()),
        (124, "no answer within 8 s"),
    ],
)
def test_without_the_cpu_index_pip_finds_torch_as_configured(machine: Machine, answer: Answer) -> None:
    machine.pip = lambda command: answer if "index" in command else (0, "")
    assert machine.module.main([]) == 0
    _, torch, _ = machine.pips()
    assert "torch==2.13.0" in torch and "-c" in torch
    assert not any("index-url" in part for part in torch)


def test_a_cpu_index_that_fails_half_way_is_left(machine: Machine) -> None:
    machine.pip = lambda command: (1, "broken") if "--no-deps" in command else cpu_index(command)
    assert machine.module.main([]) == 0
    assert [arguments[0] for arguments in machine.pips()] == ["index", "install", "install", "install"]


@pytest.mark.parametrize(
    ("choice", "system", "cpu", "gpu", "expected"),
    [
        ("auto", "Linux", "x86_64", False, True),
        ("auto", "Linux", "x86_64", True, False),
        ("cpu", "Linux", "x86_64", True, True),
        ("cuda", "Linux", "x86_64", False, False),
        ("auto", "Linux", "aarch64", False, False),
        ("cpu", "Darwin", "arm64", False, False),
        ("auto", "Windows", "AMD64", False, False),
    ],
)
def test_where_the_cpu_index_is_asked(
    machine: Machine, choice: str, system: str, cpu: str, gpu: bool, expected: bool
) -> None:
    assert machine.module.wants_cpu_index(choice, system, cpu, gpu) is expected


def test_a_torch_that_is_there_is_kept(machine: Machine) -> None:
    machine.make_venv()
    machine.torch = "2.11.0+cu130"
    assert machine.module.main([]) == 0
    (project,) = machine.pips()
    assert "torch==2.11.0+cu130" in Path(project[2]).read_text(), "pip must not replace it by the pinned one"
    assert "numpy==2.4.6" in Path(project[2]).read_text()


def test_the_light_path(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYSTATION_TORCH", "skip")
    machine.doctor = (1, "!!  torch  not installed")
    assert machine.module.main([]) == 0
    (project,) = machine.pips()
    assert project[3:5] == ["-e", "."]
    assert machine.module.main(["--extras", "dev"]) == 2


def test_nothing_changed_is_quick(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert machine.module.main([]) == 0
    machine.ran.clear()
    assert machine.module.main([]) == 0
    assert len(machine.ran) == 1 and "-I" in machine.ran[0], "one bare start of Python, no pip"
    assert "nothing has changed" in capsys.readouterr().out


def another_python(machine: Machine) -> None:
    machine.version = "3.13.0"


@pytest.mark.parametrize(
    "change",
    [
        lambda machine: (machine.root / "pyproject.toml").write_text("[project] # new"),
        lambda machine: (machine.root / "constraints.txt").write_text("torch==2.14.0\n"),
        lambda machine: (machine.venv / "waystation-setup.json").write_text("{"),
        lambda machine: (machine.venv / "bin" / "waystation").unlink(),
        another_python,
    ],
)
def test_whatever_changed_is_done_again(machine: Machine, change: Callable[[Machine], object]) -> None:
    assert machine.module.main([]) == 0
    machine.ran.clear()
    change(machine)
    assert machine.module.main([]) == 0
    assert len(machine.pips()) == 1, "torch is kept, the project installed anew"


def test_other_extras_are_another_set_up(machine: Machine) -> None:
    assert machine.module.main([]) == 0
    machine.ran.clear()
    assert machine.module.main(["--extras", "torch, bundled"]) == 0
    assert machine.pips()[-1][4] == ".[torch,bundled]"


def test_a_moved_environment_is_made_anew(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.make_venv(named=Path("/somewhere/else/.venv"))
    assert machine.module.main([]) == 0
    assert any("venv" in command and "--clear" in command for command in machine.ran)
    assert "made in another folder" in capsys.readouterr().out


def test_an_environment_of_an_old_python_is_made_anew(machine: Machine) -> None:
    machine.make_venv()
    machine.version = "3.10.2"
    assert machine.module.inspect(machine.venv) == ("", "its Python is 3.10.2")


def test_a_working_environment_is_kept(machine: Machine) -> None:
    machine.make_venv()
    assert machine.module.ensure_venv(machine.venv) == ("3.12.1", "Python 3.12.1, kept")


def test_a_folder_that_is_no_environment_is_not_touched(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.venv.mkdir()
    (machine.venv / "precious.txt").touch()
    assert machine.module.main([]) == 2
    assert (machine.venv / "precious.txt").exists()
    assert "move it away" in capsys.readouterr().err


def test_pythons_are_tried_not_trusted(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    module = machine.module
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(module, "run", lambda command: (int(command[0] != "/bin/python3.12"), ""))
    assert module.choose_python() == "/bin/python3.12"
    monkeypatch.setattr(module, "run", lambda command: (1, ""))
    with pytest.raises(module.Failure, match=r"3\.11") as caught:
        module.choose_python()
    assert caught.value.code == 2


def test_pips_failure_shows_its_last_lines(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    noise = "\n".join(f"line {number}" for number in range(40))
    machine.pip = lambda command: cpu_index(command) if "-e" not in command else (1, noise)
    assert machine.module.main([]) == 1
    shown = capsys.readouterr()
    assert "waystation   failed" in shown.out
    assert "line 39" in shown.err and "line 24" not in shown.err
    assert "pip config list" in shown.err.splitlines()[-1]
    assert not (machine.venv / "waystation-setup.json").exists()


def test_a_torch_that_does_not_import_is_a_failure(machine: Machine) -> None:
    machine.torch_after = ""
    assert machine.module.main([]) == 1


def test_the_doctors_findings_are_advice_but_a_broken_doctor_is_not(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.doctor = (1, "!!  cache  not writable")
    assert machine.module.main([]) == 0
    assert "something to look at" in capsys.readouterr().out
    (machine.venv / "waystation-setup.json").unlink()
    machine.doctor = (1, "Traceback (most recent call last):\nImportError: x")
    assert machine.module.main([]) == 1


@pytest.mark.parametrize(("variable", "arguments"), [("gpu", []), ("auto", ["--extras", "dev; rm"])])
def test_a_wrong_request(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, variable: str, arguments: list[str]
) -> None:
    monkeypatch.setenv("WAYSTATION_TORCH", variable)
    assert machine.module.main(arguments) == 2
    assert machine.ran == []


def test_the_real_constraints_name_torch_and_every_direct_dependency() -> None:
    import tomllib

    module = load()
    assert module.pinned_torch()
    project = tomllib.loads((module.ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(one for many in project["optional-dependencies"].values() for one in many)]
    pinned = {line.split("==")[0].lower() for line in (module.ROOT / "constraints.txt").read_text().splitlines()}
    names = {one.split("[")[0].split(">")[0].split("=")[0].strip().lower() for one in wanted} - {"waystation"}
    assert names - pinned == set()
