import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import Server, serving

from waystation.errors import InputError, WaystationError
from waystation.tasks import known
from waystation.tasks.fetching import download, pieces, upstream
from waystation.tasks.fetching.pieces import Piece, cut
from waystation.tasks.task import Task

DATA = Path(os.environ.get("WAYSTATION_DATA") or Path(__file__).parents[4] / "shared" / "data")
SQUAD = {"version": "1.1", "data": [{"title": f"Ä {place}", "paragraphs": []} for place in range(5)]}


@pytest.mark.parametrize(
    ("limit", "whole", "expected"),
    [
        ("whole", b"a\nb", b"a\nb"),
        ("lines 2", b"a\r\nb\nc\n", b"a\r\nb\n"),
        ("lines 2", b"a\nb\n", b"a\nb\n"),
        ("sentences 2", b"# x\na O\n\nb O\nc O\n\nd O\n", b"# x\na O\n\nb O\nc O\n\n"),
        ("sentences 1", b"\n\na O\n \t\nb O\n\n", b"\n\na O\n \t\n"),
        ("rows 1", b'id,text\n1,"one\nand, ""more"""\n2,two\n', b'id,text\n1,"one\nand, ""more"""\n'),
        ("rows 2", "id,text\n1,\u2028\n2,two\n3,x\n".encode(), "id,text\n1,\u2028\n2,two\n".encode()),
        (
            "articles 2",
            json.dumps(SQUAD).encode(),
            json.dumps({**SQUAD, "data": SQUAD["data"][:2]}, ensure_ascii=False),
        ),
        ("items 2", b'[1, {"a": "\\u00e4"},\n 3]', '[1, {"a": "ä"}]'),
        ("items 1 indent=1 ascii", '{"a": "ä", "b": 2}'.encode(), '{\n "a": "\\u00e4"\n}'),
        ("items all indent=1", b'{"a": 1, "b": 2}', '{\n "a": 1,\n "b": 2\n}'),
    ],
)
def test_limits(limit: str, whole: bytes, expected: bytes | str) -> None:
    wanted = expected.encode() if isinstance(expected, str) else expected
    assert cut(whole, limit) == wanted
    assert cut(wanted, limit) == wanted  # a piece is its own piece


@pytest.mark.parametrize("limit", ["lines 3", "sentences 3", "rows 3", "articles 6", "items 4"])
def test_files_that_hold_less(limit: str) -> None:
    whole = {"articles 6": json.dumps(SQUAD).encode(), "items 4": b"[1, 2, 3]"}.get(limit, b"a,b\n\n1,2\n\n")
    with pytest.raises(ValueError, match="only"):
        cut(whole[:-1] if limit == "lines 3" else whole, limit.replace("lines 3", "lines 4"))


CONLL = b"a O\n\nb O\n\nc O\n\n"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("WAYSTATION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(download, "PAUSE", 0.0)
    for name in ("WAYSTATION_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with serving() as state:
        monkeypatch.setattr(upstream, "GITHUB", state.url)
        state.files[f"/o/r/{'1' * 40}/in/all.txt"] = CONLL
        yield state


def piece(**changes: Any) -> Piece:
    sha256 = hashlib.sha256(cut(CONLL, "sentences 2")).hexdigest()
    return Piece("set", "test.txt", "o/r", "1" * 40, "in/all.txt", "sentences 2", sha256, "")._replace(**changes)


def test_a_piece_is_made_again(server: Server, tmp_path: Path) -> None:
    assert pieces.rebuild(piece(), tmp_path)
    assert (tmp_path / "set" / "test.txt").read_bytes() == b"a O\n\nb O\n\n"
    asked = len(server.requests)
    assert not pieces.rebuild(piece(), tmp_path)
    assert len(server.requests) == asked
    other = piece(path="more.txt", limit="sentences 1", sha256=hashlib.sha256(b"a O\n\n").hexdigest())
    assert pieces.rebuild(other, tmp_path)
    assert len(server.requests) == asked  # the official file is fetched once
    (tmp_path / "set" / "test.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something else than the piece of that name: move it away"):
        pieces.rebuild(piece(), tmp_path)
    assert (tmp_path / "set" / "test.txt").read_text() == "mine"


def test_what_cannot_be_made(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"test\.txt: converted, cannot be rebuilt \(a copy from o/r\)"):
        pieces.rebuild(piece(upstream="", limit="", note="converted, cannot be rebuilt"), tmp_path)
    with pytest.raises(WaystationError, match=r"sentences 1 of o/r@111111111111:in/all.txt has SHA-256 .* declared is"):
        pieces.rebuild(piece(limit="sentences 1"), tmp_path)
    with pytest.raises(WaystationError, match="no sentences 9 to be had of it"):
        pieces.rebuild(piece(limit="sentences 9"), tmp_path)
    with pytest.raises(WaystationError, match="404"):
        pieces.rebuild(piece(upstream="in/other.txt"), tmp_path)
    monkeypatch.setenv("WAYSTATION_OFFLINE", "1")
    with pytest.raises(InputError, match="offline mode is on"):
        pieces.rebuild(piece(), tmp_path)
    assert not (tmp_path / "set" / "test.txt").exists()


def test_the_pieces_of_a_task() -> None:
    xnli = pieces.declared(known.find("xnli"))
    assert {one.path for one in xnli} >= {"dev-sw.tsv", "test-sw.tsv", "my/my.genre.test.tsv"}
    record = known.find("e3c").model_dump()
    folders = {**record, "reader": {"kind": "xmi"}, "splits": {"test": {"files": {"en": ["layer1_xml/English"]}}}}
    assert len(pieces.of(Task.model_validate(folders))) == 16
    with pytest.raises(InputError, match="'mini-ner' has no declared pieces"):
        pieces.of(known.find("mini-ner"))


def test_declared_pieces_are_sound() -> None:
    declared = pieces.pieces()
    places = Counter((one.folder, one.path) for one in declared)
    assert max(places.values()) == 1
    for one in declared:
        assert len(one.commit) == 40 and len(one.sha256) == 64 and one.repository.count("/") == 1
        assert bool(one.upstream and one.limit) != bool(one.note), one
        assert not one.limit or one.limit.split()[0] in ("whole", "lines", "sentences", "rows", "articles", "items")
    assert pieces.is_piece(next(one.sha256 for one in declared if one.limit == "sentences 600"))
    assert not pieces.is_piece(next(one.sha256 for one in declared if one.limit == "whole"))
    assert not pieces.is_piece(next(one.sha256 for one in declared if one.limit.startswith("items all")))


@pytest.mark.data
def test_the_files_hold_what_is_declared() -> None:
    if not DATA.is_dir():
        pytest.skip(f"no real data in {DATA}")
    for one in pieces.pieces():
        content = (DATA / one.folder / one.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == one.sha256, one
        if one.limit:
            assert cut(content, one.limit) == content, one
