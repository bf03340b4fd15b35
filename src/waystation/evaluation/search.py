"""Plain sentence search with a backbone: does each sentence find its translation? (Tatoeba layout.)"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np

from waystation import backbones, languages
from waystation.backbones import Backbone
from waystation.errors import InputError
from waystation.evaluation.embed import embed
from waystation.formats import retrieval
from waystation.languages import Language
from waystation.models.backbone import Checkpoint, load_tokenizer
from waystation.models.vocabulary import EmbeddingDelta, active_rows, lookup
from waystation.scoring.retrieval import retrieval_accuracy
from waystation.steps.records import Reading
from waystation.tasks.reading import parallel
from waystation.tasks.task import Reader

LONGEST = 512
"""Tokens at which sentences are cut, as in XTREME."""


def tatoeba(
    backbone: Backbone, folder: Path, data: Path | None, codes: list[str], pairs: int
) -> dict[str, dict[str, float]]:
    """Accuracy (points) of nearest-neighbour search over the first ``pairs`` pairs, per language and direction.

    Layer, pooling and prefix are those of the backbone's record. Raises InputError where a file is missing.
    """
    chosen = [languages.resolve(code) for code in codes]
    paths = {language.code: _paths(data, language) for language in chosen}
    checkpoint, tokenizer = Checkpoint(folder), load_tokenizer(folder)
    read = Reading.model_validate({"direction": "to-english", **backbones.reading(backbone)})
    sets = {}
    for code, files in paths.items():
        examples = islice(parallel.read(files, Reader(kind="parallel"), code), 2 * pairs)
        sets[code] = retrieval.encode(examples, tokenizer, min(LONGEST, checkpoint.longest), read.prefix)
    rows = active_rows(np.concatenate([encoded.tokens for encoded in sets.values()]), checkpoint.vocabulary)
    blocks = read.blocks(backbone.layers or int(checkpoint.config.num_hidden_layers))
    nothing = EmbeddingDelta.none(int(checkpoint.config.hidden_size))
    encoder = checkpoint.encoder(rows, nothing, blocks, 0.0, 0.0)
    places = lookup(rows, checkpoint.vocabulary)
    found: dict[str, dict[str, float]] = {}
    for code, encoded in sets.items():
        vectors = embed(encoder, encoded, places, read.pooling)
        there, english = (vectors[encoded.targets == side] for side in (retrieval.LEFT, retrieval.RIGHT))
        found[code] = {
            "to English": retrieval_accuracy(there, english),
            "from English": retrieval_accuracy(english, there),
        }
    return found


def _paths(data: Path | None, language: Language) -> list[Path]:
    if data is None:
        raise InputError("--search needs --data DIR with the folder tatoeba (tatoeba.LANG-eng.LANG and .eng)")
    for folder in ("v1", "."):
        for code in (language.iso3, *language.aliases):  # the files spell some languages by a member: swh for Swahili
            paths = [data / "tatoeba" / folder / f"tatoeba.{code}-eng.{side}" for side in (code, "eng")]
            if all(path.is_file() for path in paths):
                return paths
    name = f"tatoeba.{language.iso3}-eng.{language.iso3}"
    raise InputError(f"no file {data / 'tatoeba' / name} and .eng; put the Tatoeba files of the LASER release there")
