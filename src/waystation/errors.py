"""The one family of errors.

Every message is one line: what is wrong, where (file:line, field, row), what to do. The command line prints the
message alone, without a traceback, and leaves with the error's exit code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class WaystationError(Exception):
    """Base of every error that a user is meant to read. Exit code 1: the work failed."""

    exit_code = 1


class InputError(WaystationError):
    """The input is at fault (study, data, name, option): exit code 2."""

    exit_code = 2


class ManyProblems(InputError):
    """Several input problems found in one pass; the message has one line for each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Stopped(WaystationError):
    """The run was asked to stop (SIGTERM, Ctrl-C); its state is saved and the next run goes on."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""
