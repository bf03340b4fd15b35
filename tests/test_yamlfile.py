import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation.errors import InputError
from waystation.yamlfile import load, loads


def test_no_is_norwegian() -> None:
    data, _ = loads("languages: [no, yes, on, off, y, n, No, NO]\nno: Norwegian\n", "x.yaml")
    assert data == {"languages": ["no", "yes", "on", "off", "y", "n", "No", "NO"], "no": "Norwegian"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("false", False), ("True", True), ("'true'", "true"), ("null", None), ("~", None), ("", None),
        ("12", 12), ("-3", -3), ("010", 10), ("0x10", 16), ("0o17", 15), ("1e-5", 1e-5), ("2.5E3", 2500.0), (".5", 0.5),
        ("1_000", "1_000"), ("12:30", "12:30"), ("2024-01-01", "2024-01-01"), ("'12'", "12"), ("!!str 12", "12"),
        ("=", "="), ("f1:health", "f1:health"), ("<=>", "<=>"), (".inf", ".inf"),
    ],
)  # fmt: skip
def test_scalars(text: str, value: object) -> None:
    data, _ = loads(f"key: {text}\n", "x.yaml")
    assert data == {"key": value}
    assert type(data["key"]) is type(value)


def test_keys_stay_strings() -> None:
    assert loads("0: zero\ntrue: yes\n1.5: x\n", "x.yaml")[0] == {"0": "zero", "true": "yes", "1.5": "x"}


def test_lines_of_key_paths() -> None:
    text = "# first\nstudy: a\ntarget:\n  - task: b\n    labels: {ety: X}\n  - c\n"
    _, lines = loads(text, "x.yaml")
    assert lines[()] == 2
    assert lines[("study",)] == 2
    assert lines[("target",)] == 3
    assert lines[("target", 0)] == 4
    assert lines[("target", 0, "labels", "ety")] == 5
    assert lines[("target", 1)] == 6


def test_aliases_are_read() -> None:
    assert loads("a: &x [1, 2]\nb: *x\n", "x.yaml")[0] == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, r"'a' is given twice \(first in line 1\): keep one"),
        ("a:\n  b: 1\n  b: 2\n", 3, "'b' is given twice"),
        ("a:\n\t- b\n", 2, "a tab: .*spaces"),
        ("a: 1\n\tb: 2\n", 2, "a tab: .*spaces"),
        ("a: [1, 2\n", 1, "never closed: close it"),
        ("x: 1\na: 'b\nc: 2\n", 2, "never closed: close it"),
        ("a: b: c\n", 1, "quote the text"),
        ("a: 1\nb\nc: 2\n", 3, "write 'key: value'"),
        ("a: 1\n---\nb: 2\n", 2, "one document"),
        ("", 1, "holds no YAML: write"),
        ("# nothing\n", 1, "holds no YAML: write"),
        ("a: !!python/object:os.system x\n", 1, "tag .* remove it"),
        ("a: !!int 3\n", 1, "tag .* remove it"),
        ("a: &x [*x]\n", 1, "contains itself"),
        ("a: *nowhere\n", 1, "undefined alias"),
        ("? [a]\n: b\n", 1, "a key must be a plain word"),
        ("b: &x {a: 1}\nc:\n  <<: *x\n", 3, "merge keys"),
        ("a: 1\nb: \x01\n", 2, r"U\+0001 .* remove it"),
        ("- " * 4000 + "a", 1, "nested too deeply"),
        ("a: " + "9" * 5000, 1, "number is too long"),
    ],
)
def test_malformed(text: str, line: int, says: str) -> None:
    with pytest.raises(InputError) as caught:
        loads(text, "x.yaml")
    message = str(caught.value)
    assert "\n" not in message
    assert re.match(rf"x\.yaml:{line}: .*{says}", message), message


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "a study.yaml"
    path.write_bytes("\ufeffstudy: é\r\nseeds: 3\r\n".encode())
    assert load(path) == ({"study": "é", "seeds": 3}, {(): 1, ("study",): 1, ("seeds",): 2})


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: no such file: check the path$"):
        load(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path)


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: 1\nb: \xe9\n")
    with pytest.raises(InputError, match=r"x\.yaml:2: not UTF-8 \(byte 0xe9\): save the file as UTF-8$"):
        load(path)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        loads(text, "x.yaml")
    except InputError as error:
        assert re.match(r"x\.yaml:\d+: .+$", str(error))
