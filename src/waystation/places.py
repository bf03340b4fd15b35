"""Where Waystation keeps things: the cache, the store, the user's data. Nothing is created here.

An option of the command line wins over the environment, the environment over the default; an empty variable counts
as unset. Answers are absolute, since a step may run in another working folder.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from waystation.errors import InputError


def cache_folder() -> Path:
    """Backbones and downloads, safe to delete: ``$WAYSTATION_CACHE``, else the user's cache folder."""
    asked = os.environ.get("WAYSTATION_CACHE")
    if asked:
        return _absolute(asked)
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches" / "waystation"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else _home() / "AppData" / "Local") / "waystation"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is invalid and must be ignored.
    return (Path(xdg) if Path(xdg).is_absolute() else _home() / ".cache") / "waystation"


def store_folder(option: str | Path | None = None) -> Path:
    """Artifacts: ``--store``, else ``$WAYSTATION_STORE``, else ``.waystation`` in the working folder."""
    return _absolute(option or os.environ.get("WAYSTATION_STORE") or ".waystation")


def data_folder(option: str | Path | None = None) -> Path | None:
    """The user's datasets: ``--data``, else ``$WAYSTATION_DATA``, else none."""
    asked = option or os.environ.get("WAYSTATION_DATA")
    return _absolute(asked) if asked else None


def lock_file() -> Path:
    """What was fetched for each task: ``$WAYSTATION_LOCK``, else ``waystation.lock`` in the working folder."""
    return _absolute(os.environ.get("WAYSTATION_LOCK") or "waystation.lock")


def _absolute(path: str | Path) -> Path:
    """With ``~`` resolved (environment files do not do it), without following links."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise InputError(f"{path}: the home folder is unknown; give a path without ~") from error


def _home() -> Path:
    """The home folder; containers that run under a bare user id have none."""
    try:
        return Path.home()
    except RuntimeError as error:
        raise InputError("the home folder is unknown; set WAYSTATION_CACHE to a folder you may write to") from error
