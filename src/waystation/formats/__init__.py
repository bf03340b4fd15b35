"""The shapes of a task's examples: one module per format. All but retrieval and mlm fulfil ``encoding.Format``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast, get_args

from waystation.errors import InputError, suggest
from waystation.tasks.task import FormatName

if TYPE_CHECKING:
    from waystation.formats.encoding import Format


def get(name: str) -> Format:
    """The format of this name, one with labels; its module, and torch with it, is imported only now."""
    known = [known for known in get_args(FormatName) if known not in ("retrieval", "mlm")]
    if name not in known:
        raise InputError(f"unknown format '{name}'{suggest(name, known)}; known: {', '.join(known)}")
    return cast("Format", import_module(f"{__name__}.{name}"))
