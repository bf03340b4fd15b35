"""Datasets on huggingface.co: which files a config and split means, and fetching these. Code of others never runs.

Files are listed and chosen here, so that a config is never mixed with another; fetching, resuming and caching is the
hub client's.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from waystation.backbones import hub_cache
from waystation.errors import InputError, WaystationError, suggest

CONVERTED = "refs/convert/parquet"
"""The branch to which the hub converts datasets; it has no card, so folders take the place of configs."""
_KINDS = ("parquet", "jsonl", "json", "csv", "tsv")


def snapshot(repo: str, commit: str) -> Path:
    """The folder of the hub client's cache where the files of a commit lie, whether or not they are there."""
    return hub_cache() / f"datasets--{repo.replace('/', '--')}" / "snapshots" / commit


def listing(repo: str, revision: str | None) -> tuple[str, tuple[str, ...]]:
    """The commit of a revision (None: the newest) and all of its files."""
    try:
        api = _client()
        commit = str(api.dataset_info(repo, revision=revision).sha)
        return commit, tuple(sorted(api.list_repo_files(repo, repo_type="dataset", revision=commit)))
    except Exception as error:  # the client raises many kinds
        raise _failure(error, repo, revision) from None


def fetch(repo: str, commit: str, path: str, again: bool = False) -> Path:
    """Fetch one file into the hub client's cache, also where it is there if ``again``; returns its place there."""
    try:
        from huggingface_hub import hf_hub_download

        return Path(
            hf_hub_download(
                repo,
                path,
                repo_type="dataset",
                revision=commit,
                cache_dir=hub_cache(),
                endpoint=os.environ.get("HF_ENDPOINT"),
                force_download=again,
            )
        )
    except Exception as error:
        raise _failure(error, repo, commit) from None


def _client() -> Any:
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    if not sys.stderr.isatty():
        disable_progress_bars()
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"))


def _failure(error: Exception, repo: str, revision: str | None) -> WaystationError:
    if isinstance(error, ImportError):
        return InputError(f"dataset '{repo}' needs the hub client: pip install 'waystation[torch]'")
    at = f"dataset '{repo}'" + (f" at {revision[:12]}" if revision else "")
    match type(error).__name__:
        case "GatedRepoError":
            return WaystationError(f"{at} is gated: accept its terms on huggingface.co, then `hf auth login`")
        case "RepositoryNotFoundError":
            return WaystationError(f"{at} is not on the hub, or it is private: check the name, or `hf auth login`")
        case "RevisionNotFoundError" | "RemoteEntryNotFoundError" | "EntryNotFoundError":
            return WaystationError(f"{at} does not exist on the hub: check revision and name in the record")
        case kind:
            return WaystationError(
                f"{at} could not be fetched ({kind}): check the network; the command goes on where it stopped"
            )


def configured(name: str, files: Sequence[str], card: str | None, repo: str) -> tuple[str, ...]:
    """The files of "config/split": what the card says, else what the usual layouts say; InputError where neither does.

    ``card`` is the text of the repository's README.md.
    """
    config, _, split = name.rpartition("/")
    configs = _configs(card)
    entry = configs.get(config)
    found: tuple[str, ...] = ()
    if entry is not None and "data_files" in entry:
        folder = entry.get("data_dir", "").strip("/")
        patterns = _patterns(entry["data_files"])
        found = _matching(files, [f"{folder}/{one}" if folder else one for one in patterns.get(split, ())])
        if not found:
            raise InputError(_lacking(repo, f"config '{config}' has", "split", split, patterns))
        return found
    for folder in [entry["data_dir"].strip("/") + "/"] if entry and "data_dir" in entry else _folders(config):
        for kind in _KINDS:
            for layout in (f"{split}-[0-9]*.{kind}", f"{split}.{kind}", f"{split}/*.{kind}"):
                if found := _matching(files, [folder + layout]):
                    return found
    known = configs or dict.fromkeys(path.partition("/")[0] for path in files if "/" in path)
    if config in known:
        own = [path.removeprefix(f"{config}/") for path in files if path.startswith(f"{config}/")]
        raise InputError(_lacking(repo, f"config '{config}' has", "split", split, own or files))
    raise InputError(_lacking(repo, "", "config", config, known))


def converted(name: str, files: Sequence[str], repo: str) -> tuple[str, ...]:
    """The files of "folder/split" on the converted branch, in either of its layouts; InputError without any."""
    folder, _, split = name.rpartition("/")
    for layout in (f"{folder}/{split}/*.parquet", f"{folder}/*-{split}.parquet"):
        if found := _matching(files, [layout]):
            return found
    own = [path.removeprefix(f"{folder}/") for path in files if path.startswith(f"{folder}/")]
    if own:
        names = dict.fromkeys(path.partition("/")[0] if "/" in path else path for path in own)
        raise InputError(_lacking(repo, f"folder '{folder}' of {CONVERTED} has", "split", split, names))
    folders = dict.fromkeys(path.rpartition("/")[0].partition("/")[0] for path in files if "/" in path)
    raise InputError(_lacking(repo, f"{CONVERTED} has", "folder", folder, folders))


def named(name: str, files: Sequence[str], where: str) -> tuple[str, ...]:
    """The file of this name, or all files of the folder of this name; InputError where there is neither."""
    found = (name,) if name in files else tuple(path for path in files if path.startswith(name.rstrip("/") + "/"))
    if not found:
        raise InputError(_lacking(where, "", "file", name, files))
    return found


def _lacking(repo: str, where: str, what: str, name: str, known: Iterable[str]) -> str:
    known = list(known)
    shown = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    return f"'{repo}': no {what} '{name}'{suggest(name, known)}: {where or 'it has'} {shown or 'none'}"


def _configs(card: str | None) -> dict[str, Any]:
    """The configs of a card's front matter by name."""
    match = re.match(r"\ufeff?---\s*\n(.*?)\n---\s*(\n|$)", card or "", re.DOTALL)
    try:
        # plain strings only: a config named `no` is Norwegian
        content = yaml.load(match.group(1), Loader=yaml.BaseLoader) if match else None
    except yaml.YAMLError:
        return {}
    listed = content.get("configs", []) if isinstance(content, dict) else []
    return {one["config_name"]: one for one in listed if isinstance(one, dict) and "config_name" in one}


def _patterns(data_files: Any) -> dict[str, list[str]]:
    """Split → patterns, of the three ways in which a card may say so; files without a split are "train"."""
    found: dict[str, list[str]] = {}
    for one in data_files if isinstance(data_files, list) else [data_files]:
        split, path = (one.get("split", "train"), one.get("path", [])) if isinstance(one, dict) else ("train", one)
        found.setdefault(split, []).extend([path] if isinstance(path, str) else path)
    return found


def _folders(config: str) -> list[str]:
    return ["data/", "", "default/"] if config == "default" else [f"{config}/", f"data/{config}/"]


def _matching(files: Sequence[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """Files that a pattern matches, pattern after pattern; ``*`` stays inside a folder, ``**`` does not."""
    found: dict[str, None] = {}
    for pattern in patterns:
        parts = re.split(r"(\*\*/?|\*|\?|\[[^]]+\])", pattern.removeprefix("./"))
        whole = "".join(_GLOB.get(part, part if part.startswith("[") else re.escape(part)) for part in parts)
        found |= dict.fromkeys(path for path in files if re.fullmatch(whole, path))
    return tuple(found)


_GLOB = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]", "": ""}
