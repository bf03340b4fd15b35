from __future__ import annotations

import os
from pathlib import Path

import pytest
from tiny import tiny_checkpoint

from waystation import places
from waystation.backbones import Backbone
from waystation.errors import InputError
from waystation.evaluation.search import tatoeba

DATA = Path(os.environ.get("WAYSTATION_DATA") or Path(__file__).parents[3] / "shared" / "data")
LINES = "water\nthe patient\nGeneva\n"


@pytest.mark.parametrize("inner", ["v1", "."])
def test_search_finds_equal_sentences_under_any_spelling_of_the_language(tmp_path: Path, inner: str) -> None:
    backbone = tiny_checkpoint(tmp_path / "backbone")
    folder = tmp_path / "data" / "tatoeba" / inner
    folder.mkdir(parents=True)
    for side in ("swh", "eng"):  # Swahili is sw or swa elsewhere
        (folder / f"tatoeba.swh-eng.{side}").write_text(LINES, "utf-8")
    found = tatoeba(Backbone(id=str(backbone)), backbone, tmp_path / "data", ["sw"], 300)
    assert found == {"sw": {"to English": 100.0, "from English": 100.0}}
    (folder / "tatoeba.swh-eng.eng").write_text("the patient\nwater\nGeneva\n", "utf-8")
    found = tatoeba(Backbone(id=str(backbone)), backbone, tmp_path / "data", ["sw"], 300)
    assert found["sw"] == pytest.approx({"to English": 100 / 3, "from English": 100 / 3})
    with pytest.raises(InputError, match=r"no file .*tatoeba\.deu-eng\.deu"):
        tatoeba(Backbone(id=str(backbone)), backbone, tmp_path / "data", ["de"], 300)
    (folder / "tatoeba.swh-eng.eng").write_text("one\n", "utf-8")
    assert tatoeba(Backbone(id=str(backbone)), backbone, tmp_path / "data", ["sw"], 1)["sw"]["to English"] == 100
    with pytest.raises(InputError, match=r"swh-eng\.swh:2: tatoeba\.swh-eng\.eng has no such line: .* line-aligned"):
        tatoeba(Backbone(id=str(backbone)), backbone, tmp_path / "data", ["sw"], 300)
    with pytest.raises(InputError, match="--search needs --data DIR"):
        tatoeba(Backbone(id=str(backbone)), backbone, None, ["sw"], 300)


@pytest.mark.data
@pytest.mark.slow
def test_the_bundled_backbone_keeps_its_accuracy() -> None:
    """The figures of docs/evidence/engine.md: 300 German pairs, "query: ", last layer, mean pooling."""
    if not (DATA / "tatoeba").is_dir():
        pytest.skip(f"no real data at {DATA} (set $WAYSTATION_DATA)")
    from waystation.models import bundled

    try:
        folder = bundled.ensure(places.cache_folder())
    except InputError as problem:
        pytest.skip(f"no bundled backbone: {problem}")
    found = tatoeba(Backbone(id="bundled"), folder, DATA, ["de"], 300)["de"]
    assert {name: round(points, 1) for name, points in found.items()} == {"to English": 98.3, "from English": 96.3}
