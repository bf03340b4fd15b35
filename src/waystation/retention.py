"""What stays of a trained model once every step that needs it is done, and how disk is freed.

A model without its encoder is *pruned*: before a file goes, ``pruned.json``, which lists what is left, takes the place
of the manifest. So steps that need the model have it trained again, and a kill at any moment leaves an artifact that is
whole, or a model that is pruned, and at worst files that nothing lists.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from waystation import chains
from waystation.errors import InputError
from waystation.plan import Node, Plan
from waystation.steps.records import Keep, TrunkStep
from waystation.store import MANIFEST, PRUNED, Store, sync_folder, write_json

WEIGHTS, HEAD, LOG = "delta.safetensors", "head.safetensors", "training.json"
"""Files of a trained model: encoder and changed embedding rows; the head; what happened."""

STATE = ("state.safetensors", "progress.json")
"""The full state at the end of a training: weights, optimizer moments, random state, and where it stood."""

TRUNK = "states.safetensors"
"""File of a frozen trunk: what it makes of each token."""

LOSES: dict[Keep, tuple[str, ...]] = {"heads": (*STATE, WEIGHTS, TRUNK), "deltas": (*STATE, TRUNK), "all": ()}
"""What is taken from a model or a trunk."""

KINDS = ("train", "trunk", "adopt")
"""Kinds of steps that can lose something and be done again."""


@dataclass
class Freed:
    """Things of one kind that were removed (or would be): how many, their bytes, and how many are in use and stayed."""

    count: int = 0
    bytes: int = 0
    in_use: int = 0

    def add(self, size: int | None) -> None:
        """Count one thing; None: it is in use."""
        if size is None:
            self.in_use += 1
        else:
            self.count, self.bytes = self.count + 1, self.bytes + size


@dataclass
class Pruned:
    """What ``prune`` did; ``listed``: identity and name of the artifacts that no plan needs, removed or not."""

    debris: Freed = field(default_factory=Freed)
    models: Freed = field(default_factory=Freed)
    unused: Freed = field(default_factory=Freed)
    listed: dict[str, str] = field(default_factory=dict)


class Retention:
    """Prunes models while a study runs, each as soon as no step to be done reads it.

    Only where the study keeps heads alone, and only models that were trained under that wish: what another study that
    shares the store wants to keep is left alone.
    """

    def __init__(self, store: Store, keep: Keep, made: Plan, waiting: Mapping[str, Node]) -> None:
        self._store, self._keep, self._made = store, keep, made
        self._readers: Counter[str] = Counter()
        self.expect(waiting.values())
        self.sweep()

    def expect(self, nodes: Iterable[Node]) -> None:
        """These steps are to be done: what they read stays until then."""
        self._readers.update(need for node in nodes for need in node.needs)

    def done(self, node: Node) -> None:
        """A step was done: what nothing else is going to read may go."""
        self._readers.subtract(node.needs)
        self._settle(node.needs)

    def sweep(self) -> None:
        """What an interrupted run left whole may go, and what another process was looking at when its time had come."""
        self._settle(self._made.nodes)

    def _settle(self, keys: Iterable[str]) -> None:
        for key in keys if self._keep == "heads" else ():
            # a damaged manifest or a full disk does no harm here: `store verify` and the next step tell of it
            with contextlib.suppress(InputError, OSError):
                read = self._readers[key] > 0 or self._made.nodes[key].step.kind not in KINDS
                if not read and self._store.has(key) and self._store.manifest(key).get("keep") == "heads":
                    strip(self._store, key, "heads")


def worthwhile(step: TrunkStep, examples: int, size: float, taken: float) -> bool:
    """Whether the states of a trunk are read more than once, and their bytes fit beside what others have taken."""
    return step.visits + step.passes * examples > examples and size + taken <= step.max_bytes


def trunk_bytes(store: Store) -> int:
    """Bytes of all stored states of frozen trunks."""
    return sum(path.stat().st_size for path in (store.root / "artifacts").glob(f"*/{TRUNK}"))


def reconsider(store: Store, made: Plan) -> None:
    """Forget that the states of a trunk were not worth their disk, where by now they are."""
    for node in made.nodes.values():
        if isinstance(node.step, TrunkStep) and store.has(node.id):
            with contextlib.suppress(InputError, OSError):
                manifest = store.manifest(node.id)
                refused = not manifest["stored"] and manifest["bytes"] is not None
                if refused and worthwhile(node.step, manifest["examples"], manifest["bytes"], trunk_bytes(store)):
                    remove(store, node.id)


def prune(store: Store, plans: Sequence[Plan], keep: Keep | None, unused: bool, dry_run: bool) -> Pruned:
    """Free disk: debris always; with ``keep``, parts of models; with ``unused``, artifacts that no plan needs.

    With plans, only models that none of their steps still to be done reads lose anything; without, all models do.
    """
    done = Pruned()
    for path in (*store.debris(), *_strays(store)):
        done.debris.add(_delete(path, dry_run))
    needed = {key for made in plans for key in made.nodes}
    needed |= {one.evaluate for made in plans for one in chains.imported(made, store)}
    if plans:
        keys = [*store.identities(), *(path.name for path in (store.root / "work").glob("*"))]
        done.listed = {key: _name(store, key) for key in keys if key not in needed}
        for key in done.listed:
            done.unused.add(remove(store, key, dry_run or not unused))
    if keep is not None:
        free = needed - {need for made in plans for node in made.pending(store.has) for need in node.needs}
        for key in store.identities():
            if (not plans or key in free) and _lost(store, key, keep):
                done.models.add(strip(store, key, keep, dry_run))
    return done


def strip(store: Store, key: str, keep: Keep, dry_run: bool = False) -> int | None:
    """Take from a model what ``keep`` does not name; bytes freed, None where another process is using it."""
    folder = store.folder(key)
    if dry_run:
        return sum(_size(folder / name) for name in _lost(store, key, keep))
    claim = store.claim(key)
    if claim is None:
        return None
    try:
        lost = _lost(store, key, keep)
        if not lost:
            return 0
        manifest = store.manifest(key)
        left = {name: entry for name, entry in manifest["files"].items() if name not in lost}
        if keep == "deltas" and manifest["kind"] == "train":
            write_json(folder / MANIFEST, {**manifest, "files": left})
        elif not _hide(store, key, left):
            return None
        return sum(_delete(folder / name, dry_run=False) for name in lost)
    finally:
        claim.release()


def remove(store: Store, key: str, dry_run: bool = False) -> int | None:
    """Remove an artifact and the work on it; bytes freed, None where another process is using it."""
    folders = [path for path in (store.folder(key), store.root / "work" / key) if path.exists()]
    size = sum(map(_size, folders))
    if dry_run:
        return size
    claim = store.claim(key)
    if claim is None:
        return None
    try:
        if store.has(key) and not _hide(store, key, {}):
            return None
        for path in folders:
            _delete(path, dry_run=False)
        return size
    finally:
        claim.release()


def _name(store: Store, key: str) -> str:
    """What an artifact is, for people."""
    if not store.known(key):
        return "work that was begun"
    manifest = store.manifest(key)
    task, seed = manifest["step"].get("task", ""), manifest["step"].get("seed")
    if isinstance(task, dict):  # an encoding
        task = " ".join(str(item) for item in (task["id"], manifest["step"]["split"], manifest["step"]["language"]))
    return f"{manifest['kind']} {task}{'' if seed is None else f' s{seed}'}"


def _lost(store: Store, key: str, keep: Keep) -> list[str]:
    """Names of the files that an artifact would lose."""
    if not store.has(key):
        return []
    manifest = store.manifest(key)
    return [name for name in manifest["files"] if name in LOSES[keep]] if manifest["kind"] in KINDS else []


def _hide(store: Store, key: str, left: dict[str, Any]) -> bool:
    """Replace the manifest by a list of what is ``left``; False, and all as it was, where a step is reading the rest.

    A step claims itself with all that it reads and then looks for the manifests; here the manifest goes and then claims
    are looked for. So one of the two always sees the other.
    """
    folder, manifest = store.folder(key), store.manifest(key)
    write_json(folder / PRUNED, {**manifest, "files": left})
    (folder / MANIFEST).unlink()
    sync_folder(folder)
    if store.read_by_others(key):
        write_json(folder / MANIFEST, manifest)
        (folder / PRUNED).unlink()
        return False
    return True


def _strays(store: Store) -> list[Path]:
    """Files in artifact folders that no manifest lists: pruning was killed before it came to them."""
    found = []
    for key in store.identities():
        with contextlib.suppress(InputError):
            listed = {store.manifest_path(key).name, *store.manifest(key)["files"]}
            if not store.claimed(key):
                found += [path for path in store.folder(key).iterdir() if path.name not in listed]
    return found


def _delete(path: Path, dry_run: bool) -> int:
    """Remove a file or a folder; its bytes."""
    size = _size(path)
    if dry_run:
        return size
    if path.is_dir():
        (path / PRUNED).unlink(missing_ok=True)  # first: without it the rest is debris, should this be killed
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return size


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_dir():
        return sum(_size(inner) for inner in path.iterdir())
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
