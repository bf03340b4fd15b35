"""Plain sentence search with a backbone: does each sentence find its translation? (Tatoeba layout.)"""

from __future__ import annotations

from pathlib import Path

from waystation import languages
from waystation.backbones import Backbone, Known, known
from waystation.errors import InputError
from waystation.evaluation.embed import embed
from waystation.languages import Language
from waystation.models.backbone import load_tokenizer
from waystation.scoring.retrieval import retrieval_accuracy


def tatoeba(
    backbone: Backbone, folder: Path, data: Path | None, codes: list[str], pairs: int
) -> dict[str, dict[str, float]]:
    """Accuracy (points) of nearest-neighbour search over the first ``pairs`` pairs, per language and direction.

    Layer, pooling and prefix are those of the backbone's record. Raises InputError where a file is missing.
    """
    chosen = [languages.resolve(code) for code in codes]
    texts = {
        language.code: [_lines(data, language, english, pairs) for english in (False, True)] for language in chosen
    }

    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    found: dict[str, dict[str, float]] = {}
    record = known().get(backbone.id, Known(id=backbone.id, title=backbone.id))
    tokenizer = load_tokenizer(folder)
    changes = {} if backbone.layers is None else {"num_hidden_layers": backbone.layers}
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, add_pooling_layer=False, **changes).eval()
    for language in chosen:
        left, right = texts[language.code]
        if len(left) != len(right):
            raise InputError(
                f"tatoeba {language.code}: {len(left)} sentences against {len(right)} English ones; "
                "the files must be line-aligned"
            )
        there, english = (
            embed(lines, model, tokenizer, prefix=record.prefix, layer=record.layer, pooling=record.pooling)
            for lines in (left, right)
        )
        found[language.code] = {
            "to English": retrieval_accuracy(there, english),
            "from English": retrieval_accuracy(english, there),
        }
    return found


def _lines(data: Path | None, language: Language, english: bool, pairs: int) -> list[str]:
    if data is None:
        raise InputError("--search needs --data DIR with the folder tatoeba (tatoeba.LANG-eng.LANG and .eng)")
    for folder in ("v1", "."):
        for code in (language.iso3, *language.aliases):  # the files spell some languages by a member: swh for Swahili
            path = data / "tatoeba" / folder / f"tatoeba.{code}-eng.{'eng' if english else code}"
            if path.is_file():
                # only a line feed ends a sentence: other line separators occur inside
                return path.read_text("utf-8").rstrip("\n").split("\n")[:pairs]
    name = f"tatoeba.{language.iso3}-eng.{'eng' if english else language.iso3}"
    raise InputError(f"no file {data / 'tatoeba' / name}; put the Tatoeba files of the LASER release there")
