from pathlib import Path

import pytest

from waystation.errors import InputError
from waystation.tasks.fetching import hub

CARD = """\
---
license: mit
configs:
- config_name: de
  data_files:
  - split: train
    path: de/train-*
  - split: test
    path:
    - de/test-*
    - more/**/de.parquet
- config_name: no
  data_dir: nordic
- config_name: listed
  data_files: [one.csv, "two/*.csv"]
- config_name: folder
  data_dir: deep
  data_files:
  - split: test
    path: "?.parquet"
---
# A card
"""
FILES = (
    "README.md", "de/train-00000-of-00002.parquet", "de/train-00001-of-00002.parquet", "de/test-00000.parquet",
    "de/test_mt-00000.parquet", "more/a/b/de.parquet", "nordic/train.csv", "nordic/test-00000-of-00001.parquet",
    "one.csv", "two/2.csv", "two/deep/3.csv", "deep/a.parquet", "deep/ab.parquet",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("de/train", FILES[1:3]),
        ("de/test", ("de/test-00000.parquet", "more/a/b/de.parquet")),
        ("no/test", ("nordic/test-00000-of-00001.parquet",)),
        ("no/train", ("nordic/train.csv",)),
        ("listed/train", ("one.csv", "two/2.csv")),
        ("folder/test", ("deep/a.parquet",)),
    ],
)
def test_the_card_says_which_files(name: str, expected: tuple[str, ...]) -> None:
    assert hub.configured(name, FILES, CARD, "o/d") == expected


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("dee/test", "'o/d': no config 'dee' (did you mean 'de'?): it has de, no, listed, folder"),
        ("de/tset", "'o/d': no split 'tset' (did you mean 'test'?): config 'de' has train, test"),
        ("no/validation", "no split 'validation': config 'no' has"),
    ],
)
def test_what_the_card_does_not_have(name: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        hub.configured(name, FILES, CARD, "o/d")
    assert says in str(caught.value)


@pytest.mark.parametrize("card", [None, "# no front matter\n", "---\n[broken\n---\n", "---\nlicense: mit\n---\n"])
def test_usual_layouts_without_configs(card: str | None) -> None:
    files = (
        "sw/test-00000-of-00001.parquet", "sw/train/0000.parquet", "sw/train/0001.parquet", "data/test-00000.parquet",
        "train.jsonl", "train_mt.jsonl", "train-extra.jsonl", "validation.csv", "ha/test.tsv", "data/yo/test.parquet",
    )  # fmt: skip

    def found(name: str) -> tuple[str, ...]:
        return hub.configured(name, files, card, "o/d")

    assert found("sw/test") == files[:1]
    assert found("sw/train") == files[1:3]
    assert found("default/test") == files[3:4]
    assert found("default/train") == ("train.jsonl",)
    assert found("default/validation") == ("validation.csv",)
    assert found("ha/test") == ("ha/test.tsv",)
    assert found("yo/test") == ("data/yo/test.parquet",)
    with pytest.raises(InputError, match=r"no config 'swa' \(did you mean 'sw'\?\)"):
        found("swa/test")


def test_the_converted_branch_never_mixes_configs() -> None:
    files = ("a/test/0000.parquet", "a/test/0001.parquet", "b/test/0000.parquet", "b/partial-train/0000.parquet",
             "c/set-test.parquet", "c/set-train.parquet")  # fmt: skip
    assert hub.converted("a/test", files, "o/d") == files[:2]
    assert hub.converted("b/test", files, "o/d") == files[2:3]
    assert hub.converted("c/test", files, "o/d") == ("c/set-test.parquet",)
    for name, says in {
        "a/train": "no split 'train': folder 'a' of refs/convert/parquet has test",
        "b/train": "folder 'b' of refs/convert/parquet has test, partial-train",
        "aa/test": "no folder 'aa' (did you mean 'a'?): refs/convert/parquet has a, b, c",
    }.items():
        with pytest.raises(InputError) as caught:
            hub.converted(name, files, "o/d")
        assert says in str(caught.value)


def test_named_files_and_folders() -> None:
    files = ("x/a.txt", "x/b.txt", "xy.txt")
    assert hub.named("x/a.txt", files, "o/d") == ("x/a.txt",)
    assert hub.named("x", files, "o/d") == hub.named("x/", files, "o/d") == ("x/a.txt", "x/b.txt")
    with pytest.raises(
        InputError, match=r"'o/d': no file 'x/c\.txt' \(did you mean 'x/[ab]\.txt'\?\): it has x/a\.txt"
    ):
        hub.named("x/c.txt", files, "o/d")


def test_where_the_client_keeps_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert hub.snapshot("o/d", "1" * 40) == tmp_path / "datasets--o--d" / "snapshots" / ("1" * 40)
