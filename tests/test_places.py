from __future__ import annotations

from pathlib import Path

import pytest

from waystation.errors import InputError
from waystation.places import cache_folder, data_folder, store_folder


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No variable set, and a home of one's own."""
    for name in ("WAYSTATION_CACHE", "WAYSTATION_STORE", "WAYSTATION_DATA", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("system", "expected"),
    [("linux", ".cache/waystation"), ("darwin", "Library/Caches/waystation"), ("win32", "AppData/Local/waystation")],
)
def test_cache_is_the_users_own(monkeypatch: pytest.MonkeyPatch, bare: Path, system: str, expected: str) -> None:
    monkeypatch.setattr("sys.platform", system)
    assert cache_folder() == bare / expected


def test_cache_follows_the_systems_variables(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(bare / "xdg"))
    assert cache_folder() == bare / "xdg" / "waystation"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/invalid")
    assert cache_folder() == bare / ".cache" / "waystation"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(bare / "local"))
    assert cache_folder() == bare / "local" / "waystation"


def test_our_own_variable_wins(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(bare / "xdg"))
    monkeypatch.setenv("WAYSTATION_CACHE", "~/mine")
    assert cache_folder() == bare / "mine"
    monkeypatch.setenv("WAYSTATION_CACHE", "")
    assert cache_folder() != bare / "mine"


def test_option_then_variable_then_default(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.chdir(bare)
    assert store_folder() == Path.cwd() / ".waystation"
    assert data_folder() is None
    monkeypatch.setenv("WAYSTATION_STORE", str(bare / "store"))
    monkeypatch.setenv("WAYSTATION_DATA", "some data")
    assert store_folder() == bare / "store"
    assert data_folder() == Path.cwd() / "some data"
    assert store_folder("here") == Path.cwd() / "here"
    assert data_folder(bare / "there") == bare / "there"
    assert list(bare.iterdir()) == [], "asking for a place makes nothing"


def test_no_home_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(*_: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(InputError, match="set WAYSTATION_CACHE"):
        cache_folder()
    with pytest.raises(InputError, match="without ~"):
        store_folder("~/store")
