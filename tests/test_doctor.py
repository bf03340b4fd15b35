from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from waystation import doctor
from waystation.doctor import Finding


@pytest.fixture(autouse=True)
def own_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("WAYSTATION_DATA", *doctor.OFFLINE_FLAGS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WAYSTATION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WAYSTATION_STORE", str(tmp_path / "store"))
    return tmp_path


def found(name: str, **options: Path) -> Finding:
    return next(finding for finding in doctor.report(**options) if finding.name == name)


def fake_torch(version: str = "2.13.0", threads: int = 1, cards: int = 0, cuda: str | None = None) -> SimpleNamespace:
    properties = SimpleNamespace(name="A Card", total_memory=8 * doctor.GIB)
    return SimpleNamespace(
        __version__=version,
        get_num_threads=lambda: threads,
        cuda=SimpleNamespace(
            is_available=lambda: cards > 0, device_count=lambda: cards, get_device_properties=lambda _: properties
        ),
        backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: False)),
        version=SimpleNamespace(cuda=cuda),
    )


def test_report_looks_at_everything_and_makes_nothing(own_places: Path) -> None:
    names = [finding.name for finding in doctor.report()]
    expected = "python system cores memory torch devices transformers accelerate sentencepiece offline cache store data"
    assert names == [*expected.split(), "bundled"]
    assert list(own_places.iterdir()) == []


def test_transformers_is_not_imported() -> None:
    code = "import sys; from waystation.doctor import report; report(); sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_importing_the_doctor_is_light() -> None:
    code = "import sys, waystation.doctor; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_missing_torch_is_wrong_and_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # what Python makes of an import that shall fail
    finding = found("torch")
    assert finding.ok is False and "pip install 'waystation[torch]'" in finding.remedy
    assert found("devices").ok is None


def test_broken_torch_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_torch", lambda: (None, "cannot be imported (OSError: libgomp.so.1)"))
    assert "libgomp" in found("torch").text


def test_torch_out_of_range_or_with_too_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "usable_cores", lambda: 1.5)
    monkeypatch.setattr(doctor, "_bounds", lambda _: ">=2.6,<3")
    assert doctor._torch_finding(fake_torch("2.5.1+cu121"), "").remedy == "pip install 'torch>=2.6,<3'"
    assert doctor._torch_finding(fake_torch(threads=16), "").remedy == "export OMP_NUM_THREADS=1"
    assert doctor._torch_finding(fake_torch("2.13.0+cpu"), "") == Finding("torch", True, "2.13.0+cpu, 1 thread")


def test_cards_are_listed() -> None:
    text = doctor._devices(fake_torch(cards=2, cuda="13.0")).text
    assert text == "cuda: A Card (8 GiB), A Card (8 GiB)"


@pytest.mark.parametrize(
    ("version", "within"),
    [("0.2.1", True), ("0.2.3", True), ("0.2", False), ("0.3", False), ("0.3.0", False), ("0.2.10rc1+x", True)],
)
def test_bounds_are_compared_as_numbers(version: str, within: bool) -> None:
    assert doctor._within(version, ">=0.2.1,<0.3") is within
    assert doctor._within(version, "")


def test_bounds_come_from_the_projects_own_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = ["numpy<3,>=2", 'sentencepiece<0.3,>=0.2.1; extra == "bundled"', "typer"]
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: declared)
    assert doctor._bounds("sentencepiece") == ">=0.2.1,<0.3"
    assert doctor._bounds("typer") == doctor._bounds("unheard-of") == ""
    monkeypatch.setattr(doctor.metadata, "version", lambda _: "0.3.1")
    finding = doctor._package("sentencepiece", "bundled")
    assert finding.ok is False and finding.remedy == "pip install 'sentencepiece>=0.2.1,<0.3'"


def test_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise doctor.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "version", missing)
    assert found("transformers").ok is False
    assert found("sentencepiece").ok is None, "hub models need none"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_containers_limits_count(tmp_path: Path) -> None:
    group, membership = tmp_path / "cgroup", tmp_path / "membership"
    write(membership, "0::/pod/box\n")
    write(group / "pod" / "cpu.max", "50000 100000\n")
    write(group / "pod" / "box" / "cpu.max", "max 100000\n")
    write(group / "pod" / "box" / "memory.max", "1073741824\n")
    write(group / "pod" / "memory.max", "max\n")
    assert doctor.usable_cores(group, membership) == 0.5
    assert doctor.usable_memory(group, membership) == doctor.GIB


def test_limits_of_the_older_control_groups(tmp_path: Path) -> None:
    write(tmp_path / "cpu" / "cpu.cfs_quota_us", "25000\n")
    write(tmp_path / "cpu" / "cpu.cfs_period_us", "100000\n")
    write(tmp_path / "memory" / "memory.limit_in_bytes", "2147483648\n")
    assert doctor.usable_cores(tmp_path, tmp_path / "none") == 0.25
    assert doctor.usable_memory(tmp_path, tmp_path / "none") == 2 * doctor.GIB
    write(tmp_path / "cpu" / "cpu.cfs_quota_us", "-1\n")
    assert doctor.usable_cores(tmp_path, tmp_path / "none") >= 1


def test_offline_flags_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no" in found("offline").text
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert found("offline") == Finding("offline", None, "HF_HUB_OFFLINE=1")


def test_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert found("cache").ok and "not made yet" in found("cache").text
    write(tmp_path / "file", "")
    monkeypatch.setenv("WAYSTATION_CACHE", str(tmp_path / "file" / "below"))
    assert found("cache").ok is False and "WAYSTATION_CACHE" in found("cache").remedy
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    assert found("store").ok is False


def test_a_folder_that_is_not_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)  # root may write everywhere, whatever the mode says
    assert found("store").ok is False and "not writable" in found("store").text


def test_data(tmp_path: Path) -> None:
    assert found("data").ok is None
    assert found("data", data=tmp_path / "nowhere").ok is False
    (tmp_path / "data" / "conll03").mkdir(parents=True)
    assert found("data", data=tmp_path / "data").text.endswith("(1 folder)")


def test_the_bundled_backbone_counts_once_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "backbones" / "bundled-e5-12"
    folder.mkdir(parents=True)
    assert found("bundled").ok is None
    write(folder / "waystation.json", "{}")
    assert found("bundled") == Finding("bundled", True, "unpacked: bundled-e5-12")


def test_a_check_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> float:
        raise OSError("no /proc here")

    monkeypatch.setattr(doctor, "usable_cores", broken)
    finding = found("cores")
    assert finding.ok is False and "no /proc here" in finding.text


def test_both_ways_to_show_it() -> None:
    findings = [Finding("a", True, "fine"), Finding("b", False, "bad", "mend it"), Finding("c", None, "so")]
    text = doctor.as_text(findings)
    assert [line[:2] for line in text.splitlines()] == ["ok", "!!", "  ", "--"] and "-> mend it" in text
    shown = json.loads(doctor.as_json(findings))
    assert shown["ok"] is False and shown["findings"][1]["remedy"] == "mend it"
    assert doctor.healthy(findings[::2])
