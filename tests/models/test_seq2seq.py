"""Translation models of transformers: tiny random ones of three kinds, against transformers' own way of asking them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

from tiny import TEXTS  # noqa: E402

from waystation.errors import InputError  # noqa: E402
from waystation.models.seq2seq import GROWTH, ROOM, SENTENCE, STEP, Translator, model_folder  # noqa: E402
from waystation.steps.translation import Translation  # noqa: E402
from waystation.tasks.known import find  # noqa: E402
from waystation.tasks.translation.providers import translate_step  # noqa: E402

CPU = torch.device("cpu")
SIZES = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
SIZES |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
OPTIONS: dict[str, dict[str, Any]] = {
    "t5": {"before": "translate {source} to {target}: ", "spelling": {"en": "English", "es": "Spanish"}},
    "nllb": {"spelling": {"en": "eng_Latn", "es": "spa_Latn"}},
    "marian": {"before": ">>{target}<< "},
}


def write(kind: str, folder: Path) -> Path:
    """A checkpoint with random weights of a fixed seed and a tokenizer of its kind."""
    from transformers import (
        M2M100Config,
        M2M100ForConditionalGeneration,
        MarianConfig,
        MarianMTModel,
        NllbTokenizer,
        T5Config,
        T5ForConditionalGeneration,
        T5Tokenizer,
    )

    letters = sorted({letter for text in TEXTS for letter in text if letter != " "} | set("translate:>>es<<Span"))
    tokenizer: Any
    if kind == "t5":
        pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in letters)]
        tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0)
        sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
        config: Any = T5Config(vocab_size=len(tokenizer), decoder_start_token_id=0, **sizes)
        made: Any = T5ForConditionalGeneration
    elif kind == "nllb":
        vocab = {token: n for n, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", "▁", *letters])}
        tokenizer = NllbTokenizer(vocab=vocab, merges=[])
        ends = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
        config = M2M100Config(vocab_size=len(tokenizer), max_position_embeddings=64, **ends, **SIZES)
        made = M2M100ForConditionalGeneration
    else:
        tokenizer = marian_tokenizer(folder)
        pad = tokenizer.pad_token_id
        ends = {"pad_token_id": pad, "eos_token_id": tokenizer.eos_token_id, "decoder_start_token_id": pad}
        config = MarianConfig(
            vocab_size=len(tokenizer), max_position_embeddings=64, forced_eos_token_id=None, **ends, **SIZES
        )
        made = MarianMTModel
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = made(config)
        for weight in model.parameters():
            weight.data *= 5  # far from uniform, so that rounding decides nothing
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def marian_tokenizer(folder: Path) -> Any:
    import json

    sentencepiece = pytest.importorskip("sentencepiece", reason="needs the extra 'bundled'")
    from transformers import MarianTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "texts.txt").write_text("\n".join(TEXTS))
    for side in ("source", "target"):
        sentencepiece.SentencePieceTrainer.train(
            input=str(folder / "texts.txt"), model_prefix=str(folder / side), vocab_size=150, minloglevel=2
        )
        (folder / f"{side}.model").rename(folder / f"{side}.spm")
    pieces = [line.split("\t")[0] for line in (folder / "source.vocab").read_text().splitlines()]
    tokens = ["</s>", "<unk>", *(piece for piece in pieces if piece not in ("<s>", "</s>", "<unk>")), ">>es<<", "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(tokens)}))
    return MarianTokenizer(*(str(folder / name) for name in ("source.spm", "target.spm", "vocab.json")))


@pytest.fixture(scope="module", params=list(OPTIONS))
def model(request, tmp_path_factory) -> tuple[str, Path]:
    return request.param, write(request.param, tmp_path_factory.mktemp("model"))


def translator(model: tuple[str, Path], **options: Any) -> Translator:
    kind, folder = model
    by = Translation.model_validate({"by": "seq2seq", "model": str(folder), **OPTIONS[kind], **options})
    step = translate_step(by, find("mini-topic"), "train", "en", "es", None)
    return Translator(step, model_folder(step), CPU)


def test_it_says_what_transformers_says(model) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    kind, folder = model
    text, asked = "The patient was given aspirin", translator(model, beams=3)
    more: dict[str, Any] = {}
    if kind == "nllb":
        tokenizer = AutoTokenizer.from_pretrained(folder, src_lang="eng_Latn")
        more["forced_bos_token_id"] = tokenizer.convert_tokens_to_ids("spa_Latn")
    else:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    before = {"t5": "translate English to Spanish: ", "nllb": "", "marian": ">>es<< "}[kind]
    inputs = tokenizer(before + text, return_tensors="pt")
    assert asked.tokenizer(before + text)["input_ids"] == inputs["input_ids"][0].tolist()
    inputs.pop("token_type_ids", None)
    plain = AutoModelForSeq2SeqLM.from_pretrained(folder)
    room = GROWTH * STEP * -(-inputs["input_ids"].shape[1] // STEP) + ROOM
    longest = min(room, (getattr(plain.config, "max_position_embeddings", None) or 999) - 1)
    out = plain.generate(**inputs, **more, num_beams=3, max_new_tokens=longest)
    said = tokenizer.decode(out[0], skip_special_tokens=True).strip()
    assert said and asked([text]) == [said]
    if kind == "nllb":
        assert out[0, 1] == more["forced_bos_token_id"]
        assert translator(model, spelling={"en": "eng_Latn", "es": "fra_Latn"}, beams=3)([text]) != [said]


def test_neither_batches_nor_order_nor_repeats_change_a_translation(model) -> None:
    texts = ["The patient moved", "Anna Smith", "to London with her brother in Geneva on Monday", "Anna Smith", "a"]
    alone = [translator(model)([text])[0] for text in texts]
    assert any(alone)
    asked = translator(model, tokens_per_batch=8)
    assert translator(model)(texts) == alone == asked(texts)
    assert translator(model)(texts[::-1]) == alone[::-1]
    assert asked.notes == {"sentences": 4, "sentences cut": 0}


def test_a_text_is_translated_sentence_by_sentence(model) -> None:
    one = translator(model)
    parts = [part for part in one(["The patient moved.", "Was it in Geneva?"]) if part]
    assert parts and one(["The patient moved. Was it in Geneva?"]) == [" ".join(parts)]
    assert one(["", " "]) == [None, None]


def test_what_is_too_long_is_cut_and_counted(model) -> None:
    short = translator(model, longest=12)
    (said,) = short(["aspirin " * 20])
    assert said and short.notes == {"sentences": 1, "sentences cut": 1}


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two? Three! Four", ["One.", "Two?", "Three!", "Four"]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("He (who left.) came… at 3.5 p.m. today", ["He (who left.)", "came…", "at 3.5 p.m.", "today"]),
        ("病人来了。他走了！", ["病人来了。", "他走了！", ""]),
        ("वह आया। वह गया", ["वह आया।", " वह गया"]),
    ],
)
def test_where_sentences_end(text: str, sentences: list[str]) -> None:
    assert SENTENCE.split(text) == sentences


def test_a_language_that_the_model_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no language 'es': say how it writes it in `spelling`"):
        translator(("nllb", write("nllb", tmp_path)), spelling={"en": "eng_Latn"})


def test_a_folder_without_a_translation_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="cannot be opened"):
        translator(("t5", tmp_path))
