from __future__ import annotations

from pathlib import Path

import pytest
from tiny import tiny_checkpoint

from waystation.backbones import Backbone
from waystation.errors import InputError
from waystation.evaluation.search import tatoeba

LINES = "water\nthe patient\nGeneva\n"


def test_search_finds_equal_sentences_under_any_spelling_of_the_language(tmp_path: Path) -> None:
    backbone = tiny_checkpoint(tmp_path / "backbone")
    folder = tmp_path / "data" / "tatoeba" / "v1"
    folder.mkdir(parents=True)
    for side in ("swh", "eng"):  # Swahili is sw or swa elsewhere
        (folder / f"tatoeba.swh-eng.{side}").write_text(LINES, "utf-8")
    found = tatoeba(Backbone(id=str(backbone)), backbone, tmp_path / "data", ["sw"], 300)
    assert found == {"sw": {"to English": 100.0, "from English": 100.0}}
    with pytest.raises(InputError, match=r"no file .*tatoeba\.deu-eng\.deu"):
        tatoeba(Backbone(id=str(backbone)), backbone, tmp_path / "data", ["de"], 300)
    (folder / "tatoeba.swh-eng.eng").write_text("one\n", "utf-8")
    with pytest.raises(InputError, match="must be line-aligned"):
        tatoeba(Backbone(id=str(backbone)), backbone, tmp_path / "data", ["sw"], 300)
