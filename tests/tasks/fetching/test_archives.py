import io
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from waystation.errors import WaystationError
from waystation.tasks.fetching import archives
from waystation.tasks.fetching.archives import unpack


def tar(path: Path, *members: tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as packed:  # type: ignore[call-overload]
        for member in members:
            packed.addfile(member, io.BytesIO(b"x" * member.size) if member.isreg() else None)
    return path


def member(name: str, size: int = 3, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.type, made.linkname = size if kind == tarfile.REGTYPE else 0, kind, target
    return made


def zipped(path: Path, files: dict[str, bytes], modes: dict[str, int] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            packed.writestr(info, content)
    return path


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.xz", "tar.bz2"])
def test_tar(tmp_path: Path, ending: str) -> None:
    mode = "w:" + ending.removeprefix("tar").removeprefix(".")
    folders = (member(name, kind=tarfile.DIRTYPE) for name in (".", "./d"))
    packed = tar(tmp_path / f"a.{ending}", *folders, member("d/e/f.txt"), member("./g.txt"), mode=mode)
    assert archives.is_archive(packed)
    unpack(packed, tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"d/e/f.txt", "g.txt"}
    assert (tmp_path / "out" / "g.txt").read_bytes() == b"xxx"


def test_zip(tmp_path: Path) -> None:
    packed = zipped(tmp_path / "a.zip", {"d/": b"", "d/f.txt": b"one", "g.txt": b"two"}, {"d/": stat.S_IFDIR | 0o755})
    unpack(packed, tmp_path / "out")
    assert (tmp_path / "out/d/f.txt").read_bytes() == b"one"
    assert not archives.is_archive(tmp_path / "out/d/f.txt")


HOSTILE = [
    (member("../evil"), "leads out of the folder"),
    (member("a/../../evil"), "leads out of the folder"),
    (member("/etc/evil"), "absolute"),
    (member("..\\evil"), "not a plain path"),
    (member("C:/evil"), "not a plain path"),
    (member("../", kind=tarfile.DIRTYPE), "leads out of the folder"),
    (member("link", kind=tarfile.SYMTYPE, target="/etc/passwd"), "link or a device"),
    (member("link", kind=tarfile.SYMTYPE, target="fine.txt"), "link or a device"),
    (member("hard", kind=tarfile.LNKTYPE, target="fine.txt"), "link or a device"),
    (member("null", kind=tarfile.CHRTYPE), "link or a device"),
    (member("disk", kind=tarfile.BLKTYPE), "link or a device"),
    (member("pipe", kind=tarfile.FIFOTYPE), "link or a device"),
]


@pytest.mark.parametrize(("evil", "says"), HOSTILE, ids=[f"{one.name}-{says}" for one, says in HOSTILE])
def test_hostile_members_of_a_tar(tmp_path: Path, evil: tarfile.TarInfo, says: str) -> None:
    packed = tar(tmp_path / "a.tar.gz", member("fine.txt"), evil)
    with pytest.raises(WaystationError) as caught:
        unpack(packed, tmp_path / "deep" / "out")
    assert f"member '{evil.name.rstrip('/')}" in str(caught.value) and says in str(caught.value)
    assert list((tmp_path / "deep").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "deep"]


@pytest.mark.parametrize(
    ("name", "mode", "says"),
    [
        ("../evil", stat.S_IFREG, "leads out"),
        ("/evil", stat.S_IFREG, "absolute"),
        ("link", stat.S_IFLNK, "link or a device"),
        ("null", stat.S_IFCHR, "link or a device"),
    ],
)
def test_hostile_members_of_a_zip(tmp_path: Path, name: str, mode: int, says: str) -> None:
    packed = zipped(tmp_path / "a.zip", {"fine.txt": b"1", name: b"/etc/passwd"}, {name: mode | 0o777})
    with pytest.raises(WaystationError, match=says):
        unpack(packed, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_an_encrypted_member(tmp_path: Path) -> None:
    packed = zipped(tmp_path / "a.zip", {"secret.txt": b"1"})
    content = bytearray(packed.read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.index(signature) + at
        struct.pack_into("<H", content, place, 1)
    packed.write_bytes(content)
    with pytest.raises(WaystationError, match=r"member 'secret\.txt' is refused: it is encrypted"):
        unpack(packed, tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_bombs(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_SMALL", 2**20)
    monkeypatch.setattr(archives, "MOST_RATIO", 100)
    if kind == "zip":
        packed = zipped(tmp_path / "a.zip", {"small": b"1", "zeros": bytes(2**23)})
    else:
        packed = tar(tmp_path / f"a.{kind}", member("small"), member("zeros", 2**23), mode=f"w:{kind[4:]}")
    with pytest.raises(WaystationError, match="member 'zeros' is refused: it would unpack to more than"):
        unpack(packed, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 2)
    packed = tar(tmp_path / "a.tar.gz", member("1"), member("2"), member("3"))
    with pytest.raises(WaystationError, match="member '3' is refused: there are more than 2 members"):
        unpack(packed, tmp_path / "out")


def test_a_cut_archive_leaves_nothing(tmp_path: Path) -> None:
    packed = tar(tmp_path / "a.tar.gz", *(member(f"{index}.txt", 5000) for index in range(50)), mode="w:gz")
    packed.write_bytes(packed.read_bytes()[:-40])
    with pytest.raises(WaystationError, match=r"a\.tar\.gz: cannot be unpacked \(.*\): fetch it again") as caught:
        unpack(packed, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar.gz"]


def test_twice_the_same_member(tmp_path: Path) -> None:
    with pytest.raises(WaystationError, match="cannot be unpacked"):
        unpack(tar(tmp_path / "a.tar.gz", member("1"), member("1")), tmp_path / "out")
