"""What this machine and this installation offer: the findings behind ``waystation doctor``.

No network, nothing is created, and nothing here may raise: a broken installation is what it is for. transformers and
its kin are not imported, their versions are read; torch is, since only importing shows whether it works.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from waystation.errors import WaystationError
from waystation.places import cache_folder, data_folder, store_folder

OFFLINE_FLAGS = ("WAYSTATION_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
GIB = 1024**3
LEAST_DISK = 2 * GIB
"""Room for the bundled backbone (0.5 GB), a converted second one, and some predictions."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``ok`` is None where it is neither right nor wrong, only worth knowing."""

    name: str
    ok: bool | None
    text: str
    remedy: str = ""


def report(data: str | Path | None = None, store: str | Path | None = None) -> list[Finding]:
    """Every finding, in the order in which a reader wants them."""
    torch, trouble = _torch()
    # Without torch its companions are no findings of their own: one line says what to install.
    light = "" if torch else "comes with torch"
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("python", _python),
        ("system", lambda: Finding("system", None, f"{platform.system()} {platform.release()}, {platform.machine()}")),
        ("cores", _cores),
        ("memory", _memory),
        ("torch", lambda: _torch_finding(torch, trouble)),
        ("devices", lambda: _devices(torch)),
        ("transformers", lambda: _package("transformers", "torch", without=light)),
        ("accelerate", lambda: _package("accelerate", "torch", without=light)),
        (
            "sentencepiece",
            lambda: _package("sentencepiece", "bundled", without="the bundled backbone needs waystation[bundled]"),
        ),
        ("offline", _offline),
        ("cache", lambda: _folder("cache", cache_folder(), "WAYSTATION_CACHE")),
        ("store", lambda: _folder("store", store_folder(store), "WAYSTATION_STORE")),
        ("data", lambda: _data(data)),
        ("bundled", _bundled),
    ]
    return [_safely(name, check) for name, check in checks]


def healthy(findings: list[Finding]) -> bool:
    """Whether nothing found is wrong."""
    return all(finding.ok is not False for finding in findings)


def as_text(findings: list[Finding]) -> str:
    """One line for each finding, its remedy beneath it."""
    lines = []
    for finding in findings:
        sign = {True: "ok", False: "!!", None: "--"}[finding.ok]
        lines.append(f"{sign}  {finding.name:<14}{finding.text}")
        if finding.remedy:
            lines.append(f"{'':18}-> {finding.remedy}")
    return "\n".join(lines)


def as_json(findings: list[Finding]) -> str:
    """``{"ok": bool, "findings": [{name, ok, text, remedy}]}``."""
    return json.dumps({"ok": healthy(findings), "findings": [asdict(finding) for finding in findings]}, indent=1)


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> float:
    """The cores this process may use: affinity and a container's quota, not what the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = float(len(affinity(0)) if affinity else os.cpu_count() or 1)
    for folder in _groups(cgroup, membership):
        quota, period = (*_numbers(folder / "cpu.max"), 0, 0)[:2]
        if quota and period:
            cores = min(cores, quota / period)
    quota, period = (_number(cgroup / "cpu" / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    if quota > 0 and period:
        cores = min(cores, quota / period)
    return max(round(cores, 2), 0.1)


def usable_memory(cgroup: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int | None:
    """Bytes of memory this process may use, or None where the system does not say."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    limits = [_number(folder / "memory.max") for folder in _groups(cgroup, membership)]
    limits.append(_number(cgroup / "memory" / "memory.limit_in_bytes"))
    return min([total, *(limit for limit in limits if limit > 0)])


def _groups(cgroup: Path, membership: Path) -> list[Path]:
    """The control group (version 2) of this process and all above it: each may set a limit."""
    try:
        entries = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        entries = []
    own = next((entry[len("0::/") :] for entry in entries if entry.startswith("0::/")), "")
    folder = cgroup / own
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(cgroup))]


def _numbers(path: Path) -> list[int]:
    """The numbers at the start of a small file: none where there is no such file or it says "max"."""
    try:
        return [int(word) for word in path.read_text(encoding="utf-8").split()]
    except (OSError, ValueError):
        return []


def _number(path: Path) -> int:
    """The one number in a file, or 0."""
    return (_numbers(path) or [0])[0]


def _safely(name: str, check: Callable[[], Finding]) -> Finding:
    """A check that fails is a finding."""
    try:
        return check()
    except WaystationError as error:
        return Finding(name, False, str(error))
    except Exception as error:
        return Finding(name, False, f"could not be checked ({type(error).__name__}: {error})")


def _python() -> Finding:
    """Python itself."""
    ok = sys.version_info >= (3, 11)
    return Finding("python", ok, platform.python_version(), "" if ok else "install Python 3.11 or later")


def _cores() -> Finding:
    """Cores this process may use, of those the machine has."""
    return Finding("cores", None, f"{usable_cores():g} usable of {os.cpu_count()}")


def _memory() -> Finding:
    """Memory this process may use."""
    memory = usable_memory()
    return Finding("memory", None, "unknown on this system" if memory is None else f"{memory / GIB:.1f} GiB")


def _torch() -> tuple[Any, str]:
    """The module, or None and why not."""
    try:
        import torch
    except Exception as error:  # a missing system library is an OSError, a broken build nearly anything
        missing = isinstance(error, ModuleNotFoundError) and error.name == "torch"
        return None, "not installed" if missing else f"cannot be imported ({type(error).__name__}: {error})"
    return torch, ""


def _torch_finding(torch: Any, trouble: str) -> Finding:
    """Whether torch works, in the supported range, with as many threads as there are cores."""
    if torch is None:
        remedy = "pip install 'waystation[torch]', or `make setup` in a checkout"
        return Finding("torch", False, f"{trouble}; plan, gains and report work without it", remedy)
    threads, cores = torch.get_num_threads(), usable_cores()
    text = f"{torch.__version__}, {threads} thread{'s' if threads != 1 else ''}"
    allowed = _bounds("torch")
    if not _within(torch.__version__, allowed):
        return Finding("torch", False, f"{text}: not in {allowed}", f"pip install 'torch{allowed}'")
    if threads > max(1, cores):
        # torch counts the cores of the machine; under a container's quota its threads wait for each other.
        return Finding("torch", None, f"{text} on {cores:g} cores", f"export OMP_NUM_THREADS={max(1, int(cores))}")
    return Finding("torch", True, text)


def _devices(torch: Any) -> Finding:
    """Where training can run."""
    card = Path("/dev/nvidia0").exists()
    if torch is None:
        return Finding("devices", None, "unknown without torch" + (" (an NVIDIA card shows)" if card else ""))
    if torch.cuda.is_available():
        names = []
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            names.append(f"{properties.name} ({properties.total_memory / GIB:.0f} GiB)")
        return Finding("devices", True, "cuda: " + ", ".join(names))
    if torch.backends.mps.is_available():
        return Finding("devices", True, "mps, cpu")
    if card:
        why = "this torch is a CPU build" if torch.version.cuda is None else "torch cannot use it: look at its driver"
        return Finding("devices", None, f"cpu; an NVIDIA card shows, but {why}", "install a CUDA build of torch")
    return Finding("devices", True, "cpu")


def _package(name: str, extra: str, without: str = "") -> Finding:
    """The version of an installed package against its declared range; ``without``: why its absence is no fault."""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        if without:
            return Finding(name, None, f"not installed: {without}")
        return Finding(
            name, False, "not installed", f"pip install 'waystation[{extra}]', or `make setup` in a checkout"
        )
    allowed = _bounds(name)
    if not _within(version, allowed):
        return Finding(name, False, f"{version}: not in {allowed}", f"pip install '{name}{allowed}'")
    return Finding(name, True, version)


def _bounds(name: str) -> str:
    """The range that the installed Waystation declares for a package (``>=0.2.1,<0.3``), or an empty string."""
    try:
        requirements = metadata.requires("waystation") or []
    except metadata.PackageNotFoundError:
        return ""
    for requirement in requirements:
        found = re.match(r"([A-Za-z0-9._-]+)\s*([^;]*)", requirement)
        if found and found.group(1).lower() == name:
            # The metadata may order the parts either way: the floor reads better first.
            return ",".join(sorted(found.group(2).replace(" ", "").split(","), reverse=True))
    return ""


def _within(version: str, bounds: str) -> bool:
    """Whether a version lies in ``>=a,<b``. Local and pre-release parts are left out: enough for a diagnosis."""

    def parts(text: str) -> tuple[int, ...]:
        numbers = re.match(r"\d+(\.\d+)*", text)
        return tuple(int(part) for part in numbers.group().split(".")) if numbers else ()

    def padded(one: str, other: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        a, b = parts(one), parts(other)
        size = max(len(a), len(b))
        return a + (0,) * (size - len(a)), b + (0,) * (size - len(b))

    for bound in filter(None, bounds.split(",")):
        found = re.match(r"(>=|<)(.+)", bound)
        if found:
            have, limit = padded(version, found.group(2))
            if not (have >= limit if found.group(1) == ">=" else have < limit):
                return False
    return True


def _offline() -> Finding:
    """Whether the network was forbidden."""
    flags = [f"{flag}={os.environ[flag]}" for flag in OFFLINE_FLAGS if os.environ.get(flag)]
    return Finding("offline", None, ", ".join(flags) or "no: hub downloads are allowed")


def _folder(name: str, folder: Path, variable: str) -> Finding:
    """Whether a folder, there already or not, can be written to and has room."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    remedy = f"set {variable} to a folder with room that you may write to"
    if not nearest.is_dir():
        return Finding(name, False, f"{folder}: {nearest} is a file", remedy)
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding(name, False, f"{folder}: {nearest} is not writable", remedy)
    free = shutil.disk_usage(nearest).free
    text = f"{folder} ({free / GIB:.1f} GiB free{'' if folder.exists() else ', not made yet'})"
    return Finding(name, True, text) if free >= LEAST_DISK else Finding(name, False, text, remedy)


def _data(option: str | Path | None) -> Finding:
    """The folder of the user's datasets."""
    folder = data_folder(option)
    if folder is None:
        return Finding("data", None, "no folder given; the built-in corpus needs none")
    if not folder.is_dir():
        return Finding(
            "data", False, f"{folder} is no folder", "set WAYSTATION_DATA or --data to the folder of your data"
        )
    inside = sum(path.is_dir() for path in folder.iterdir())
    return Finding("data", True, f"{folder} ({inside} folder{'s' if inside != 1 else ''})")


def _bundled() -> Finding:
    """Whether the bundled backbone is unpacked; its ``waystation.json`` is written last."""
    folders = sorted(path.parent for path in cache_folder().glob("backbones/bundled-*/waystation.json"))
    if folders:
        return Finding("bundled", True, "unpacked: " + ", ".join(folder.name for folder in folders))
    return Finding("bundled", None, "not unpacked yet; the first run that needs it does so")
