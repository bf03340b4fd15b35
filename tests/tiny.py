"""Tiny complete checkpoints, made on the spot: any test can train and predict in seconds without a download."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any, Literal

Kind = Literal["xlm-roberta", "bert"]

TEXTS = (
    "The patient was given aspirin in Geneva on Monday .",
    "Anna Smith moved from New York to London with her brother .",
    "Der Patient bekam am Montag in Genf zwei Tabletten Aspirin .",
    "La paciente recibió aspirina en Ginebra el lunes .",
    "Пациент получил аспирин в Женеве в понедельник .",
    "Gaixoak aspirina hartu zuen Genevan astelehenean .",
    "मरीज को सोमवार को जिनेवा में एस्पिरिन दी गई ।",
    "Mgonjwa alipewa aspirini mjini Geneva siku ya Jumatatu .",
    "病人星期一在日内瓦吃了阿司匹林 。",
    "ผู้ป่วยได้รับแอสไพรินที่เจนีวาในวันจันทร์",
)


def tiny_checkpoint(
    folder: Path, kind: Kind = "xlm-roberta", layers: int = 2, hidden: int = 32, texts: Sequence[str] = TEXTS
) -> Path:
    """Write a checkpoint (config, random weights of a fixed seed, tokenizer) that AutoModel and AutoTokenizer load.

    The vocabulary holds every character of ``texts`` and every word of theirs that is written between blanks.
    """
    import torch
    from transformers import BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

    tokenizer = tiny_tokenizer(kind, texts)
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 2 * hidden,
        "pad_token_id": tokenizer.pad_token_id,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any
        if kind == "bert":
            model = BertModel(BertConfig(max_position_embeddings=512, **shape))
        else:
            model = XLMRobertaModel(
                XLMRobertaConfig(
                    max_position_embeddings=514, type_vocab_size=1, bos_token_id=0, eos_token_id=2, **shape
                )
            )
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_tokenizer(kind: Kind = "xlm-roberta", texts: Sequence[str] = TEXTS) -> Any:
    """A fast tokenizer built as the real ones are: Unigram with Metaspace for XLM-R, cased WordPiece for BERT."""
    from transformers import BertTokenizer, XLMRobertaTokenizer

    # Words of scripts without blanks stay out, so that such words start with a lone ▁ as in XLM-R.
    words = Counter(word for text in texts for word in text.split() if max(word) < "\u0e00")
    letters = Counter(letter for text in texts for letter in text if not letter.isspace())
    if kind == "bert":
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        pieces = [*sorted(letters), *(f"##{letter}" for letter in sorted(letters)), *sorted(words)]
        vocab = {piece: number for number, piece in enumerate(dict.fromkeys([*special, *pieces]))}
        return BertTokenizer(vocab=vocab, do_lower_case=False, model_max_length=512)
    scores = {"▁": -3.0} | {letter: -10.0 + log(count) / 10 for letter, count in sorted(letters.items())}
    scores |= {f"▁{word}": -9.0 + log(count) / 10 for word, count in sorted(words.items())}
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    listed = [*((token, 0.0) for token in special), *scores.items(), ("<mask>", 0.0)]
    return XLMRobertaTokenizer(vocab=listed, model_max_length=512)
