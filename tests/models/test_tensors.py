"""Tensors read by positioned reads are those that safetensors reads, and the rest of the file stays out of memory."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from safetensors.torch import load_file, save_file  # noqa: E402

from waystation.errors import InputError  # noqa: E402
from waystation.models import tensors  # noqa: E402
from waystation.models.tensors import read_tensor, tensor_shape  # noqa: E402

KINDS = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 40 rows in each type, between other tensors of odd sizes."""
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    drawn = torch.Generator().manual_seed(0)
    stored = {f"table.{kind}": torch.randn(40, 5, generator=drawn).to(kind) for kind in KINDS}
    stored |= {"a.bias": torch.randn(3, generator=drawn), "z.scalar": torch.tensor(2.5), "deep": torch.zeros(4, 3, 2)}
    save_file({**stored, "ids": torch.arange(4)}, path, metadata={"format": "pt"})
    return path


@settings(deadline=None)
@given(rows=st.lists(st.integers(0, 39), max_size=60), kind=st.sampled_from(KINDS))
def test_any_rows_in_any_order(file: Path, rows: list[int], kind: torch.dtype) -> None:
    name = f"table.{kind}"
    found = read_tensor(file, name, np.array(rows, dtype=np.int64))
    assert found.dtype == torch.float32 and found.shape == (len(rows), 5)
    assert torch.equal(found, load_file(file)[name][rows].to(torch.float32))


def test_whole_tensors(file: Path) -> None:
    for name, expected in load_file(file).items():
        if name != "ids":
            assert torch.equal(read_tensor(file, name), expected.to(torch.float32))
        assert tensor_shape(file, name) == expected.shape


def test_neighbouring_rows_are_one_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    fill = tensors._fill
    monkeypatch.setattr(tensors, "_fill", lambda file, view: reads.append(len(view)) or fill(file, view))
    read_tensor(file, "table.torch.float32", np.array([*range(3, 20), 22, 23, 30]))
    assert reads == [17 * 20, 2 * 20, 20]


def test_what_cannot_be_read_is_told(file: Path, tmp_path: Path) -> None:
    for rows in ([-1, 3], [0, 40]):
        with pytest.raises(IndexError, match="has 40 rows"):
            read_tensor(file, "table.torch.float32", np.array(rows))
    with pytest.raises(InputError, match="tensor 'ids' is of type I64; save the checkpoint in float32"):
        read_tensor(file, "ids")
    short = tmp_path / "short.safetensors"
    save_file({"table": torch.zeros(9, 4)}, short)
    short.write_bytes(short.read_bytes()[:-8])
    assert read_tensor(short, "table", np.arange(8)).shape == (8, 4)
    for rows in (None, np.array([8])):
        with pytest.raises(InputError, match="cut off inside tensor 'table'; fetch or save it again"):
            read_tensor(short, "table", rows)


def mapped() -> int:
    """MB of files that this process has in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile")) // 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_rest_of_a_table_is_not_brought_in(tmp_path: Path) -> None:
    path = tmp_path / "table.safetensors"
    save_file({"table": torch.zeros(50_000, 384)}, path)  # 77 MB
    rows = np.arange(0, 50_000, 20)
    before = mapped()
    found = read_tensor(path, "table", rows)
    assert mapped() - before <= 2
    table = load_file(path)["table"]
    assert torch.equal(found, table[rows])
    assert mapped() - before > 30, "through a map much more comes in, else this test could not fail"
