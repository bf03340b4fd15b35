import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import Server, serving

from waystation.errors import WaystationError
from waystation.tasks.fetching import download as module
from waystation.tasks.fetching.download import download

CONTENT = bytes(range(256)) * 400


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    with serving() as state:
        state.files["/a.zip"] = CONTENT
        yield state


def test_a_file_appears_whole(server: Server, tmp_path: Path) -> None:
    place = tmp_path / "new" / "a.zip"
    download(f"{server.url}/a.zip", place, hashlib.sha256(CONTENT).hexdigest())
    assert place.read_bytes() == CONTENT
    assert [path.name for path in place.parent.iterdir()] == ["a.zip"]


def test_a_cut_connection_is_taken_up_where_it_ended(server: Server, tmp_path: Path) -> None:
    server.cuts["/a.zip"] = [1000, 500]
    download(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.ranges("/a.zip") == [None, "bytes=1000-", "bytes=1500-"]


def test_a_later_command_goes_on(server: Server, tmp_path: Path) -> None:
    server.cuts["/a.zip"] = [100, 100, 100]
    with pytest.raises(WaystationError, match=r"ended after 300 of 102400 bytes.*goes on where it stopped") as caught:
        download(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert caught.value.exit_code == 1
    assert not (tmp_path / "a.zip").exists()
    download(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert server.ranges("/a.zip")[-1] == "bytes=300-"
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_begun_anew(server: Server, tmp_path: Path) -> None:
    server.cuts["/a.zip"] = [100, 100, 100]
    with pytest.raises(WaystationError):
        download(f"{server.url}/a.zip", tmp_path / "a.zip")
    server.files["/a.zip"] = CONTENT[::-1]
    download(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT[::-1]


def test_without_a_validator_nothing_is_continued(server: Server, tmp_path: Path) -> None:
    server.etags = False
    server.cuts["/a.zip"] = [1000]
    download(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert server.ranges("/a.zip") == [None, None]
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_part_longer_than_the_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(CONTENT + b"more")
    (tmp_path / "a.zip.part.etag").write_text(f'"{hashlib.sha256(CONTENT).hexdigest()}"')
    download(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WaystationError) as caught:
        download(f"{server.url}/a.zip", tmp_path / "a.zip", "0" * 64)
    assert hashlib.sha256(CONTENT).hexdigest() in str(caught.value) and "0" * 64 in str(caught.value)
    assert list(tmp_path.glob("a.zip*")) == [tmp_path / "a.zip.part.etag"]


def test_refusals(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WaystationError, match=r"/b\.zip: the server says 404 Not Found: check the address"):
        download(f"{server.url}/b.zip", tmp_path / "b.zip")
    assert len(server.ranges("/b.zip")) == 1
    server.status["/a.zip"] = [503, 503]
    download(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert len(server.ranges("/a.zip")) == 3
    server.status["/a.zip"] = [503, 503, 503]
    with pytest.raises(WaystationError, match="503 Service Unavailable: try again later"):
        download(f"{server.url}/a.zip", tmp_path / "c.zip")


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)
    with pytest.raises(WaystationError, match=r"could not be fetched .*refused.*: check the network") as caught:
        download("http://127.0.0.1:9/a.zip", tmp_path / "a.zip")
    assert "\n" not in str(caught.value)
