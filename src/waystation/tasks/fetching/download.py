"""One file over HTTP: resumed where it was cut, checked, and in place only when it is whole."""

from __future__ import annotations

import http.client
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from waystation.errors import WaystationError
from waystation.records import file_sha256

ATTEMPTS = 3
PAUSE = 1.0
TIMEOUT = 30.0
_CHUNK = 1 << 20


def download(url: str, path: Path, sha256: str | None = None) -> None:
    """Fetch ``url`` to ``path``. What a broken connection leaves stays in ``path.part``; the next try goes on there.

    Raises WaystationError where the server refuses, cannot be reached, or sends something else than ``sha256``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, validator = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.etag")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _transfer(url, partial, validator)
            break
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # what is there is no beginning of what the server has
                partial.unlink(missing_ok=True)
            elif error.code < 500 and error.code != 429:
                raise WaystationError(
                    f"{url}: the server says {error.code} {error.reason}: check the address"
                ) from None
            if attempt == ATTEMPTS:
                raise WaystationError(f"{url}: the server says {error.code} {error.reason}: try again later") from None
        except (OSError, http.client.HTTPException) as error:
            if attempt == ATTEMPTS:
                why = getattr(error, "reason", None) or error
                raise WaystationError(
                    f"{url}: could not be fetched ({' '.join(str(why).split()) or type(error).__name__}): check the "
                    f"network; the command goes on where it stopped"
                ) from None
        time.sleep(PAUSE * attempt)
    if sha256 is not None and (found := file_sha256(partial)) != sha256:
        partial.unlink()
        raise WaystationError(f"{url}: the file has SHA-256 {found}, expected {sha256}: it is not used")
    validator.unlink(missing_ok=True)
    partial.replace(path)


def _transfer(url: str, partial: Path, validator: Path) -> None:
    """Fetch what is missing of ``partial``. Only a file that the server can identify is continued."""
    known = validator.read_text() if validator.is_file() and partial.is_file() else ""
    begun = partial.stat().st_size if known else 0
    request = urllib.request.Request(url, headers={"User-Agent": "waystation", "Accept-Encoding": "identity"})
    if begun:
        request.add_header("Range", f"bytes={begun}-")
        request.add_header("If-Range", known)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        if answer.status != 206:
            begun = 0
        validator.write_text(answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")
        length = answer.headers.get("Content-Length")
        whole = None if length is None else begun + int(length)
        with partial.open("ab" if begun else "wb") as file:
            done = begun
            while block := answer.read(_CHUNK):
                file.write(block)
                done += len(block)
                _progress(partial.name.removesuffix(".part"), done, whole)
    _progress("", 0, None)
    if whole is not None and done < whole:
        raise ConnectionError(f"the connection ended after {done} of {whole} bytes")


def _progress(name: str, done: int, whole: int | None) -> None:
    """One line that is written over, on a terminal only; an empty name clears it."""
    if sys.stderr.isatty():
        shown = f"{name}  {done / 1e6:.1f}" + (f" of {whole / 1e6:.1f} MB" if whole else " MB") if name else ""
        print(f"\r\x1b[K{shown}", end="", file=sys.stderr, flush=True)
