"""The store: content-addressed artifacts on a plain folder.

``artifacts/<id>/`` holds an artifact; it exists when its ``manifest.json`` does, which is written last and carries a
checksum for each file. A model that lost its weights to retention has a ``pruned.json`` in its place, which lists what
is left. ``work/<id>/`` keeps what an interrupted step continues from, ``claims/`` who is at work and on what,
``failures/`` why a step failed. Nothing is pickled. Several processes may share a store: claims expire, and the first
complete manifest wins.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from waystation.errors import InputError
from waystation.records import Record, digest, file_sha256, identity

MANIFEST, PRUNED = "manifest.json", "pruned.json"
CLAIM_SECONDS = 120.0
"""A claim that was not renewed for this long may be taken over."""


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old content or the new, never half of it."""
    write_bytes(path, json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True).encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under another name, flush it to disk, then rename it."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def link(source: Path, target: Path) -> None:
    """Give a file that is never written again a second name, or copy it where the file system has no links."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


class Store:
    """Artifacts by identity under one folder; created on first write."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"store '{self.root}' is a file; give a folder with --store")
        above = next((folder for folder in self.root.parents if folder.exists()), self.root)
        if not self.root.exists() and not (above.is_dir() and os.access(above, os.W_OK)):
            raise InputError(f"store '{self.root}' cannot be made in {above}; give another folder with --store")

    def folder(self, key: str) -> Path:
        """Where the artifact of an identity lies."""
        return self.root / "artifacts" / key

    def has(self, key: str) -> bool:
        """Whether the artifact is complete, so that steps can read it."""
        return os.path.isfile(f"{self.root}/artifacts/{key}/{MANIFEST}")

    def known(self, key: str) -> bool:
        """Whether the step was done: its artifact is complete, or a model of which only the head was kept."""
        return self.has(key) or os.path.isfile(f"{self.root}/artifacts/{key}/{PRUNED}")

    def manifest_path(self, key: str) -> Path:
        """The file that describes the artifact: the manifest, or what stands for it in a pruned model."""
        return self.folder(key) / (MANIFEST if self.has(key) or not self.known(key) else PRUNED)

    def manifest(self, key: str) -> dict[str, Any]:
        """The manifest of a known artifact; InputError where it is absent or unreadable."""
        path = self.manifest_path(key)
        try:
            content: dict[str, Any] = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise InputError(f"{self.root}: no artifact {key[:12]}; run the study first") from None
        except ValueError:
            raise InputError(f"{path}: not valid JSON; remove the folder and run the study again") from None
        shape = {"id": str, "kind": str, "step": dict, "identity": dict, "files": dict}
        if not isinstance(content, dict) or any(
            not isinstance(content.get(name), kind) for name, kind in shape.items()
        ):
            raise InputError(f"{path}: not a manifest; remove the folder and run the study again")
        return content

    def identities(self) -> list[str]:
        """Identities of all known artifacts."""
        return sorted(path.name for path in (self.root / "artifacts").glob("*") if self.known(path.name))

    def workspace(self, key: str) -> Path:
        """A folder that outlives the process: an interrupted step finds its checkpoints here."""
        path = self.root / "work" / key
        path.mkdir(parents=True, exist_ok=True)
        return path

    @contextlib.contextmanager
    def building(self, key: str) -> Iterator[Path]:
        """A fresh folder to fill before ``commit``; removed when left without a commit."""
        path = self.root / "building" / f"{key}.{uuid.uuid4().hex[:8]}"
        path.mkdir(parents=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def commit(self, key: str, step: Record, folder: Path, details: dict[str, Any]) -> None:
        """Make a filled folder the artifact of ``key``. Where another process was first, its artifact stays."""
        if digest(step) != key:
            raise ValueError("the identity does not belong to this step")
        files = {}
        for path in sorted(folder.iterdir()):
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
                files[path.name] = {
                    "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
                    "bytes": path.stat().st_size,
                }
        manifest = {
            "id": key,
            "kind": getattr(step, "kind", ""),
            "identity": identity(step),
            "step": step.model_dump(mode="json"),
            "files": files,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **details,
        }
        write_json(folder / MANIFEST, manifest)
        target = self.folder(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not self.has(key):  # debris, or a pruned model that is whole again
            aside = folder.with_name(f"{folder.name}.old")
            with contextlib.suppress(FileNotFoundError):  # another process may be clearing it too
                os.rename(target, aside)
            shutil.rmtree(aside, ignore_errors=True)
        try:
            os.rename(folder, target)
        except OSError:
            if not self.has(key):
                raise
        sync_folder(target.parent)
        shutil.rmtree(self.root / "work" / key, ignore_errors=True)
        (self.root / "failures" / f"{key}.json").unlink(missing_ok=True)

    def fail(self, key: str, label: str, message: str) -> None:
        """Keep why a step failed."""
        path = self.root / "failures" / f"{key}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(
            path,
            {"id": key, "step": label, "message": message, "time": datetime.now(UTC).isoformat(timespec="seconds")},
        )

    def failure(self, key: str) -> str | None:
        """The message of a step that failed before, or None."""
        path = self.root / "failures" / f"{key}.json"
        try:
            return str(json.loads(path.read_bytes())["message"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None  # nothing that could be told: the step is simply done again

    def forget_failure(self, key: str) -> None:
        """Let a failed step be done again."""
        (self.root / "failures" / f"{key}.json").unlink(missing_ok=True)

    def claim(self, key: str, reads: Sequence[str] = ()) -> Claim | None:
        """Claim a step for this process, or None while another live process has it.

        ``reads``: the artifacts that the step needs. What of them is there once the claim is, stays until its release.
        """
        path = self.root / "claims" / f"{key}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        token = uuid.uuid4().hex
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "token": token, "reads": list(reads)}
        for _ in range(2):
            try:
                descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                if not _abandoned(path):
                    return None
                # Two processes may find the same stale claim: only the one whose rename succeeds goes on.
                stale = path.with_name(f".{path.name}.{token}")
                with contextlib.suppress(FileNotFoundError):
                    os.rename(path, stale)
                    if not _abandoned(stale):  # the other one has already put its own claim there: give it back
                        os.rename(stale, path)
                        return None
                    stale.unlink()
                continue
            with os.fdopen(descriptor, "wb") as file:
                file.write(json.dumps(owner).encode())
            return Claim(path, token)
        return None

    def claimed(self, key: str) -> bool:
        """Whether a live process has claimed the step."""
        path = self.root / "claims" / f"{key}.json"
        return path.exists() and not _abandoned(path)

    def read_by_others(self, key: str) -> bool:
        """Whether a live process is at a step that reads the artifact, or may be about to say so."""
        for path in (self.root / "claims").glob("*.json"):
            if not _abandoned(path):
                try:
                    if key in json.loads(path.read_bytes())["reads"]:
                        return True
                except FileNotFoundError:
                    continue
                except (ValueError, KeyError, TypeError):
                    return True  # written this moment
        return False

    def debris(self) -> Iterator[Path]:
        """What dead builders left behind, and nobody claims: half-built folders, and work on what is done."""
        for path in (self.root / "building").glob("*"):
            if not self.claimed(path.name.split(".")[0]):
                yield path
        for path in (self.root / "artifacts").glob("*"):
            if not self.known(path.name) and not self.claimed(path.name):
                yield path
        for path in (self.root / "claims").glob("*.json"):
            if self.has(path.stem) and _abandoned(path):
                yield path
        for path in (self.root / "work").glob("*"):
            if self.has(path.name):  # killed right after the commit
                yield path

    def clean(self) -> None:
        """Remove all debris."""
        for path in self.debris():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def verify(self) -> list[str]:
        """Re-compute identities and checksums of all artifacts; one line per problem."""
        problems = []
        for path in sorted((self.root / "artifacts").glob("*")):
            key = path.name
            if not self.known(key):
                problems.append(f"{path}: no manifest; debris of an interrupted commit, removed by the next run")
                continue
            try:
                manifest = self.manifest(key)
            except InputError as error:
                problems.append(str(error))
                continue
            if digest(manifest.get("identity")) != key:
                where = self.manifest_path(key)
                problems.append(f"{where}: identity does not hash to the folder's name; remove the folder")
            for name, entry in manifest.get("files", {}).items():
                file = path / name
                if not file.is_file():
                    problems.append(f"{file}: missing; remove the folder {path} and run the study again")
                elif not isinstance(entry, dict) or file_sha256(file) != entry.get("sha256"):
                    problems.append(
                        f"{file}: checksum differs from the manifest; remove the folder {path} and run the study again"
                    )
        return problems


class Claim:
    """A claim on one step, renewed by a background thread until released."""

    def __init__(self, path: Path, token: str) -> None:
        self._path, self._token = path, token
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()

    def _renew(self) -> None:
        while not self._done.wait(CLAIM_SECONDS / 8):
            with contextlib.suppress(OSError):
                os.utime(self._path)

    def release(self) -> None:
        """Give the claim back; harmless when it was taken over meanwhile."""
        self._done.set()
        self._thread.join()
        with contextlib.suppress(OSError, ValueError, KeyError):
            if json.loads(self._path.read_bytes())["token"] == self._token:
                self._path.unlink()


def _abandoned(path: Path) -> bool:
    """A claim is dead when it was not renewed in time, or its process on this host is gone."""
    try:
        age = time.time() - path.stat().st_mtime
        owner = json.loads(path.read_bytes())
        host, pid = str(owner["host"]), int(owner["pid"])
    except FileNotFoundError:
        return True
    except (ValueError, TypeError, KeyError):
        return age > 5.0  # written a moment ago, or by a process that died while writing
    if age > CLAIM_SECONDS:
        return True
    if host != socket.gethostname():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def sync_folder(path: Path) -> None:
    """Bring what was made, renamed and removed in a folder to disk."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
