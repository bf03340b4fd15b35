import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from waystation.training import checkpoint  # noqa: E402


def save(folder, update):
    tensors = {"a": torch.full((3,), float(update)), "b": torch.ones(4, 2).T}  # the second is not contiguous
    checkpoint.save(folder, update, tensors, {"losses": [0.1, 1 / 3]})


def test_what_was_saved_is_loaded(tmp_path):
    assert checkpoint.load(tmp_path) is None
    assert checkpoint.load(tmp_path / "nothing here") is None
    save(tmp_path, 7)
    found = checkpoint.load(tmp_path)
    assert found.progress["update"] == 7
    assert found.progress["losses"] == [0.1, 1 / 3]
    assert torch.equal(found.tensors["a"], torch.full((3,), 7.0))
    assert torch.equal(found.tensors["b"], torch.ones(2, 4))


def test_only_the_newest_is_kept(tmp_path):
    for update in (1, 2, 10):
        save(tmp_path, update)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-00000010"]
    save(tmp_path, 10)
    assert checkpoint.load(tmp_path).progress["update"] == 10


@pytest.mark.parametrize("damage", ["no state", "half a state", "no progress", "half a progress", "empty"])
def test_a_half_written_one_does_not_count(tmp_path, damage):
    save(tmp_path / "newer", 2)
    save(tmp_path, 1)
    newest = (tmp_path / "newer" / "checkpoint-00000002").rename(tmp_path / "checkpoint-00000002")
    (tmp_path / "newer").rmdir()
    assert checkpoint.load(tmp_path).progress["update"] == 2
    state, progress = newest / checkpoint.STATE, newest / checkpoint.PROGRESS
    match damage:
        case "no state":
            state.unlink()
        case "half a state":
            state.write_bytes(state.read_bytes()[:-4])
        case "no progress":
            progress.unlink()
        case "half a progress":
            progress.write_bytes(progress.read_bytes()[:20])
        case "empty":
            state.unlink()
            progress.unlink()
    assert checkpoint.load(tmp_path).progress["update"] == 1
    save(tmp_path, 2)
    assert checkpoint.load(tmp_path).progress["update"] == 2
