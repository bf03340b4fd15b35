"""Tiny complete checkpoints, made on the spot: any test can train and predict in seconds without a download."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import log
from pathlib import Path
from typing import Any, Literal

Kind = Literal["xlm-roberta", "bert", "deberta-v2", "modernbert"]

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
    folder: Path,
    kind: Kind = "xlm-roberta",
    layers: int | None = None,
    hidden: int = 32,
    texts: Sequence[str] = TEXTS,
    spread: float = 0.02,
) -> Path:
    """Write a checkpoint (config, random weights of a fixed seed, tokenizer) that AutoModel and AutoTokenizer load.

    The vocabulary holds every character of ``texts`` and every word of theirs that is written between blanks.
    ``layers``: 2, ModernBERT 4. ``spread``: standard deviation of the weights; attention is sharp from 0.1 upwards.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    tokenizer = tiny_tokenizer(kind, texts)
    own: dict[Kind, dict[str, Any]] = {
        "bert": {"max_position_embeddings": 512},
        "xlm-roberta": {"max_position_embeddings": 514, "type_vocab_size": 1, "bos_token_id": 0, "eos_token_id": 2},
        "deberta-v2": {  # as mDeBERTa-v3: nothing but relative positions, in buckets
            "max_position_embeddings": 512,
            "position_buckets": 8,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
        "modernbert": {  # a token sees 4 others on each side, but for every third block
            "max_position_embeddings": 512,
            "global_attn_every_n_layers": 3,
            "local_attention": 8,
            **{f"{name}_token_id": tokenizer.cls_token_id for name in ("bos", "cls")},
            **{f"{name}_token_id": tokenizer.sep_token_id for name in ("eos", "sep")},
        },
    }
    shape = {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "num_hidden_layers": layers or (4 if kind == "modernbert" else 2),
        "num_attention_heads": 4,
        "intermediate_size": 2 * hidden,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": spread,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModel.from_config(AutoConfig.for_model(kind, **shape, **own[kind]))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_tokenizer(kind: Kind = "xlm-roberta", texts: Sequence[str] = TEXTS) -> Any:
    """A fast tokenizer built as the real ones are.

    Unigram with Metaspace for XLM-R and mDeBERTa, cased WordPiece for BERT, byte-level BPE with its special tokens last
    for ModernBERT.
    """
    from transformers import BertTokenizer, DebertaV2Tokenizer, XLMRobertaTokenizer

    if kind == "modernbert":
        return _byte_level(texts)
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
    if kind == "deberta-v2":
        special, mask, tokenizer = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"], "[MASK]", DebertaV2Tokenizer
    else:
        special, mask, tokenizer = ["<s>", "<pad>", "</s>", "<unk>"], "<mask>", XLMRobertaTokenizer
    listed = [*((token, 0.0) for token in special), *scores.items(), (mask, 0.0)]
    return tokenizer(vocab=listed, model_max_length=512)


def _byte_level(texts: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=400, show_progress=False, initial_alphabet=letters))
    names = {name: f"[{name.upper()}]" for name in ("unk", "cls", "sep", "pad", "mask")}
    inner.add_special_tokens(list(names.values()))
    ends = [(token, inner.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=512,
        **{f"{name}_token": token for name, token in names.items()},
    )
