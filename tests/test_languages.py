from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waystation import languages
from waystation.errors import InputError
from waystation.languages import expand, group, groups, is_group, resolve, table

# The codes under which public datasets name their languages. Their files are elsewhere; the names are facts.
DATASETS = {
    "tatoeba": (
        "afr amh ara awa bel ben ber bre bul cbk ceb cmn cym deu dtp ell eng est eus fao fin fra gla gle gsw heb hin "
        "hsb hun hye ind ita jav jpn kab kat kaz khm kor lfn mal mar mhr mon nld oci pam pes por rus spa sqi swh tam "
        "tat tel tgl tha tuk tur uig urd vie war yid"
    ),
    "panx": (
        "af ar az bg bn de el en es et eu fa fi fr gu he hi hu id it ja jv ka kk ko lt ml mr ms my nl pa pl pt qu ro "
        "ru sw ta te th tl tr uk ur vi yo zh"
    ),
    "udpos": "af ar bg de el en es et eu fa fi fr he hi hu id it ja kk ko mr nl pt ru ta te th tl tr ur vi yo zh",
    "ud": "en de hi zh th tr eu ta te ro cs no nb nn",
    "xquad": "ar de el en es hi ro ru th tr vi zh",
    "tydiqa": "ar bn en fi id ko ru sw te",
    "mlqa": "ar de en es hi vi zh",
    "xnli": "ar bg de el en es fr hi ru sw th tr ur vi zh ko my",
    "pawsx": "de en es fr ja ko zh",
    "xcopa": "et ht id it qu sw ta th tr vi zh en",
    "bucc": "de en fr ru zh",
    "mewslix": "ar de en es fa ja pl ro ta tr uk",
    "masakhaner2": "bam bbj ewe fon hau ibo kin lug luo mos nya pcm sna swa tsn twi wol xho yor zul",
    "masakhaner1": "amh hau ibo kin lug luo pcm swa wol yor",
    "masakhanews": "amh eng fra hau ibo lin lug orm pcm run sna som swa tir xho yor "
    "am en fr ha ig ln om rn sw ti xh yo",
    "tico19": "en es-LA fr hi ha ku ln ne om ps so sw ta ti tl",
    "e3c": "en es fr eu it",
    "medical and legal": "en es fr eu ru vi zh ja ro de pt cs",
}

# The codes of XLM-R's pretraining text, as published with the model.
XLMR = (
    "af am ar as az be bg bn br bs ca cs cy da de el en eo es et eu fa fi fr fy ga gd gl gu ha he hi hr hu hy id is it "
    "ja jv ka kk km kn ko ku ky la lo lt lv mg mk ml mn mr ms my ne nl no om or pa pl ps pt ro ru sa sd si sk sl so sq "
    "sr su sv sw ta te th tl tr ug uk ur uz vi xh yi zh"
)

JOSHI = {
    5: "ar de en es fr ja zh",
    4: "eu fa fi hi hu it ko nl pt ru tr vi ca",
    3: "af bg bn el et he id ka kk ms ta th tl ur gl ro",
    2: "mr sw yo mt ga am ha wo",
    1: "jv ml my te ig rw lg qu gn ay",
    0: "pcm",
}


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_dataset_code_resolves(dataset: str) -> None:
    for code in DATASETS[dataset].split():
        assert resolve(code).code in table()


def test_code_is_iso1_or_else_iso3() -> None:
    for code, language in table().items():
        assert code == language.code
        assert len(language.iso3) == 3
        assert len(code) == 2 or code == language.iso3


def test_codes_in_use_reach_one_language() -> None:
    for code, names in {
        "sw": "swa swh sw Swahili SWAHILI",
        "zh": "cmn zh zho zh_CN zh-TW mandarin Chinese",
        "fa": "pes fa fas Persian farsi",
        "ar": "arb ar ara",
        "om": "orm gaz om",
        "pcm": "pcm",
        "tw": "twi",
        "bm": "bam",
        "es": "es-LA",
        "he": "iw heb",
    }.items():
        assert {resolve(name).code for name in names.split()} == {code}
    assert resolve("scottish gaelic").code == "gd"
    assert resolve(" en ").code == "en"


def test_no_alias_points_to_two_languages() -> None:
    owner: dict[str, str] = {}
    for language in table().values():
        for name in {languages._key(n) for n in (language.code, language.name, *language.aliases)}:
            assert owner.setdefault(name, language.code) == language.code, name


def test_rows_are_complete_and_unique() -> None:
    rows = list(table().values())
    assert len({row.iso3 for row in rows}) == len(rows)
    assert len({row.name for row in rows}) == len(rows)
    path = Path(languages.__file__).parent / "data" / "languages.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(rows) + 1  # a repeated code would overwrite a row
    for row in rows:
        assert len(row.script) == 4 and row.script.istitle(), row
        assert row.family, row
        assert row.code not in row.aliases, row
        assert len(set(row.aliases)) == len(row.aliases), row
        assert (row.joshi is None) == (row.joshi_source == ""), row
        assert row.joshi_source in ("list", "variety", "assumed", ""), row


def test_norwegian_is_text() -> None:
    assert table()["no"].name == "Norwegian"
    assert isinstance(resolve("no").code, str)
    assert [resolve(c).code for c in ("no", "NO", "nor", "nb", "nob", "nn", "nno")] == [
        "no", "no", "no", "nb", "nb", "nn", "nn",
    ]  # fmt: skip
    assert expand(["no"]) == ("no",)


@pytest.mark.parametrize("joshi", JOSHI)
def test_joshi_classes(joshi: int) -> None:
    for code in JOSHI[joshi].split():
        assert resolve(code).joshi == joshi, code
        assert code in group(f"joshi-{joshi}")


def test_what_is_not_known_is_said() -> None:
    assert resolve("lfn").joshi is None
    assert "lfn" not in group("low-resource")
    assert {row.code for row in table().values() if row.joshi_source == "assumed"} == {
        "luo", "bbj", "dtp", "bzd", "cni", "hch", "nah", "oto", "shp", "tar",
    }  # fmt: skip


def test_xlmr() -> None:
    assert len(XLMR.split()) == 93
    assert {row.code for row in table().values() if row.xlmr} == {*XLMR.split(), "nb"}
    assert {"yo", "ig", "ht", "qu", "wo", "nn", "bbj"} <= set(group("unseen-by-xlmr"))
    assert not set(group("unseen-by-xlmr")) & set(XLMR.split())


def test_mbert() -> None:
    # The 104 languages of the published list; the table has no row for the others.
    missing = [
        "an",
        "ast",
        "ba",
        "bar",
        "bpy",
        "ce",
        "cv",
        "io",
        "lmo",
        "min",
        "new",
        "nds",
        "pms",
        "sco",
        "sh",
        "scn",
        "azb",
        "tg",
        "vo",
        "pnb",
    ]
    assert {"th", "mn", "nn", "yo", "ht", "oc"} <= {row.code for row in table().values() if row.mbert}
    # Chinese is listed in two scripts; the table has Norwegian beside its two written forms.
    assert sum(row.mbert for row in table().values()) + len(missing) == 104 - 1 + 1
    assert {"am", "ha", "km", "or", "so", "xh", "zu"} <= set(group("unseen-by-mbert"))


def test_xtreme() -> None:
    assert len(group("xtreme")) == 40 and len(group("xtreme-r")) == 50
    assert set(group("xtreme-r")) - set(group("xtreme")) == set(
        ["az", "gu", "ht", "lt", "pa", "pl", "qu", "ro", "uk", "wo"]
    )
    assert {"jv", "ms", "my", "yo", "tl"} <= set(group("xtreme"))
    # by resource class: 7 of class 5, 12, 14, 3 and 4 of class 1
    assert [sum(resolve(code).joshi == joshi for code in group("xtreme")) for joshi in range(6)] == [0, 4, 3, 14, 12, 7]


def test_there_are_enough_of_them() -> None:
    assert len(table()) >= 130


def test_scripts_agree_with_cldr() -> None:
    likely = pytest.importorskip("babel.core").get_global("likely_subtags")
    checked = 0
    for row in table().values():
        tag = likely.get(row.code)
        if tag is not None:
            checked += 1
            assert row.script == tag.split("_")[1], row
    assert checked > 100


def test_groups() -> None:
    assert group("low-resource") == tuple(row.code for row in table().values() if row.joshi in (0, 1, 2))
    assert {"sw", "yo", "te", "luo", "pcm"} <= set(group("low-resource"))
    assert not {"en", "eu", "bn", "ceb"} & set(group("low-resource"))
    assert group("script-Ethi") == ("am", "ti")
    assert group("family-isolate") == ("eu",)
    assert group("FAMILY-niger-congo") == group("family-Niger-Congo")
    assert set(group("family-Koreanic")) == {"ko"}
    for name, codes in groups().items():
        assert is_group(name) and is_group(name.upper())
        assert codes == group(name) and codes, name
        assert len(set(codes)) == len(codes)
    assert not is_group("sw") and not is_group("nothing")


def test_a_name_is_a_group_or_a_language_not_both() -> None:
    for name in groups():
        with pytest.raises(InputError):
            resolve(name)


def test_expand_keeps_order_without_repeats() -> None:
    assert expand(["zh", "cmn", "English", "script-Ethi", "am", "de"]) == ("zh", "en", "am", "ti", "de")
    assert expand([]) == ()
    assert expand(["tir", "script-Ethi"]) == ("ti", "am")


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(InputError) as language:
        resolve("Swahilli")
    assert str(language.value) == (
        "unknown language 'Swahilli' (did you mean 'swahili'?); `waystation languages` lists all"
    )
    with pytest.raises(InputError) as unlike:
        resolve("@@")
    assert str(unlike.value) == "unknown language '@@'; `waystation languages` lists all"
    with pytest.raises(InputError, match=r"unknown language group 'low-resourse' \(did you mean 'low-resource'\?\)"):
        group("low-resourse")
    with pytest.raises(InputError, match=r"unknown language or group 'script-Eth' \(did you mean 'script-ethi'\?\)"):
        expand(["en", "script-Eth"])
    with pytest.raises(InputError, match=r"unknown language or group 'basqe' \(did you mean 'basque'\?\)"):
        expand(["basqe"])


ALIASES = [(row.code, name) for row in table().values() for name in (row.name, row.iso3, *row.aliases)]


@given(st.sampled_from(ALIASES), st.sampled_from([str, str.upper, str.title, str.casefold]))
def test_alias_is_its_language(pair: tuple[str, str], change: Callable[[str], str]) -> None:
    code, alias = pair
    assert resolve(change(alias)) == resolve(code)


@given(st.lists(st.sampled_from([*table(), *groups()])))
def test_expand_is_stable(names: list[str]) -> None:
    codes = expand(names)
    assert expand(codes) == codes
    assert len(set(codes)) == len(codes)
    assert set(codes) <= set(table())


def test_import_reads_nothing_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, waystation.languages as L; assert L.table.cache_info().currsize == 0; "
        "print(*sorted({m.split('.')[0] for m in sys.modules} & {'numpy', 'torch', 'pyarrow'}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""
