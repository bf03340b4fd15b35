import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from questions import questions
from tiny import TEXTS, tiny_checkpoint, tiny_tokenizer

from waystation import formats
from waystation.errors import InputError
from waystation.evaluation.predict import _only as predict_only
from waystation.formats import encoding, span
from waystation.models import bundled
from waystation.models.backbone import load_tokenizer
from waystation.places import cache_folder
from waystation.scoring import answers, metrics
from waystation.tasks import known, sources
from waystation.tasks.examples import SpanExample

DATA = Path(os.environ.get("WAYSTATION_DATA") or Path(__file__).parents[3] / "shared" / "data")
KINDS = ("xlm-roberta", "bert", "deberta-v2", "modernbert")
TOKENIZERS = {kind: tiny_tokenizer(kind) for kind in KINDS}  # type: ignore[arg-type]
OUTPUTS = ["start", "end"]
WORDS = [*sorted({word for text in TEXTS for word in text.split()}), "中国", "xyz", "日内瓦住", "Genf" * 9, "(1920)"]
CONTEXTS = st.lists(
    st.tuples(st.sampled_from(WORDS), st.sampled_from([" ", "  ", "\n", "\u00a0"])), min_size=1, max_size=30
)


def example(context, *found, question="Anna in Genf ?", id="q"):
    """Answers are pieces of the context, each at its first place."""
    return SpanExample(id, context, question, tuple((text, context.index(text)) for text in found))


def windows(encoded):
    return [slice(low, high) for low, high in zip(encoded.offsets[:-1], encoded.offsets[1:], strict=True)]


def gold_texts(encoded):
    """Per example the texts that the targets of its windows stand for."""
    found = [set() for _ in encoded.ids]
    for number, window in enumerate(windows(encoded)):
        first, last = encoded.targets[number]
        if last > 0:
            chars = encoded.chars[window]
            found[encoded.example[number]].add(encoded.texts[encoded.text[number]][chars[first, 0] : chars[last, 1]])
    return found


def one_hot(encoded, noise=0.0, seed=0):
    """Logits that say what the targets say, windows in random order."""
    drawn, rows = np.random.default_rng(seed), []
    for number, window in enumerate(windows(encoded)):
        logits = noise * drawn.normal(size=(window.stop - window.start, 2)).astype(np.float32)
        logits[np.maximum(0, encoded.targets[number]), [0, 1]] += 9
        rows.append((number, logits))
    drawn.shuffle(rows)  # type: ignore[arg-type]
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_those_of_the_tokenizer(kind):
    tokenizer = TOKENIZERS[kind]
    pairs = [(TEXTS[n], TEXTS[-1 - n]) for n in range(len(TEXTS))] + [("Anna", "病人 Genf"), ("Anna", TEXTS[0])]
    given_ = [SpanExample(f"q{n}", context, asked, ((context[:3], 0),)) for n, (asked, context) in enumerate(pairs)]
    encoded = span.encode(given_, tokenizer, OUTPUTS, max_length=512, stride=128)
    for window, (asked, context) in zip(windows(encoded), pairs, strict=True):
        expected = tokenizer(asked, context)
        assert encoded.tokens[window].tolist() == expected["input_ids"]
        if encoded.types is not None:
            assert encoded.types[window].tolist() == expected["token_type_ids"]
    assert (encoded.types is not None) == (kind in ("bert", "deberta-v2"))
    assert encoded.texts == list(dict.fromkeys(context for _, context in pairs))
    bare = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for pair in pairs for text in pair)
    assert encoded.stats == {
        "tokens": len(encoded.tokens),
        "words": encoded.words.sum(),
        "subtokens": bare,
        "unknown": int((encoded.tokens == tokenizer.unk_token_id).sum()),
        "windows": len(pairs),
        "truncated": 0,
        "split": 0,
        "unanswerable": 0,
    }


def parts(encoded):
    """Per window its tokens outside the text, and (tokens, chars) of the text."""
    for window in windows(encoded):
        tokens, chars = encoded.tokens[window], encoded.chars[window]
        inside = chars[:, 0] >= 0
        yield tokens[~inside].tolist(), np.column_stack([tokens, chars])[inside].tolist()


@pytest.mark.parametrize("kind", KINDS)
@given(words=CONTEXTS, max_length=st.integers(8, 48), data=st.data())
@settings(max_examples=80, deadline=None)
def test_windows_cover_the_text_and_hold_every_answer_that_the_overlap_holds(kind, words, max_length, data):
    tokenizer = TOKENIZERS[kind]
    stride = data.draw(st.integers(0, max_length // 2), "stride")
    context = "".join(word + blank for word, blank in words)
    begin, end = sorted(data.draw(st.tuples(*[st.integers(0, len(context))] * 2), "answer"))
    text = context[begin:end].strip()
    assume(text)
    begin += context[begin:end].index(text)
    given_ = [SpanExample("q", context, "Anna ?", ((text, begin),))]
    encoded = span.encode(given_, tokenizer, OUTPUTS, max_length, stride)
    whole = span.encode(given_, tokenizer, OUTPUTS, 10_000, 0)
    assert np.diff(encoded.offsets).max() <= max_length

    # The question and what is special stand alike in every window; the text goes on from one to the next.
    ((_, pieces),) = parts(whole)
    shown = []
    for outside, inside in parts(encoded):
        assert outside == next(parts(encoded))[0]
        room, low = max_length - len(outside), shown[-1][0] + 1 if shown else 0
        first = next(at for at in range(low, len(pieces)) if pieces[at : at + len(inside)] == inside)
        shown.append((first, first + len(inside)))
    overlap = min(stride, room // 2)
    assert shown[0][0] == 0 and shown[-1][1] == len(pieces)
    assert all(low <= end - overlap for (low, _), (_, end) in zip(shown[1:], shown[:-1], strict=True))
    assert all(end > before for (_, end), (_, before) in zip(shown[1:], shown[:-1], strict=True))

    # They are cut between words, where no word is longer than half of what is not overlap.
    word = tokenizer(context, add_special_tokens=False).word_ids()
    edges = {0, len(pieces), *(at for at in range(1, len(pieces)) if word[at] != word[at - 1])}
    if np.diff(sorted(edges)).max() <= (room - overlap - 1) // 2:
        assert {edge for pair in shown for edge in pair} <= edges

    # The answer: tightly held, and whole somewhere unless it is longer than the overlap and one.
    (first, last), chars = whole.targets[0], whole.chars
    assert chars[first, 0] <= begin < chars[first, 1] and chars[last, 0] < begin + len(text) <= chars[last, 1]
    held = [last - first for first, last in encoded.targets.tolist() if last > 0]
    assert set(held) <= {last - first} and encoded.stats["split"] == (not held)
    assert held or last - first > overlap


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_length", [24, 64])
def test_decoding_one_hot_gold_gives_gold_back(kind, max_length):
    given_ = questions(40, seed=1)
    encoded = span.encode(given_, TOKENIZERS[kind], OUTPUTS, max_length, max_length // 3)
    assert len(encoded.example) > 40 or max_length == 64
    assert encoded.stats["split"] == 0
    assert encoded.gold == [[text for text, _ in one.answers] for one in given_]
    assert [[text] for text in span.decode(encoded, one_hot(encoded, noise=1.0), OUTPUTS)] == encoded.gold


@given(longest=st.integers(3, 24), seed=st.integers(0, 9999))
@settings(max_examples=60, deadline=None)
def test_decoding_takes_the_best_span_of_all_windows(longest, seed):
    """Against all pairs of all windows: with few tokens, every one is among the likeliest starts and ends."""
    encoded = span.encode(questions(4, seed, longest), TOKENIZERS["bert"], OUTPUTS, 24, 6)
    drawn = np.random.default_rng(seed)
    sizes = np.diff(encoded.offsets).tolist()
    logits = [(number, drawn.normal(size=(size, 2)).astype(np.float32)) for number, size in enumerate(sizes)]
    best = [(-np.inf, "")] * 4
    for (number, values), window in zip(logits, windows(encoded), strict=True):
        chars, text = encoded.chars[window], encoded.texts[encoded.text[number]]
        inside = np.flatnonzero(chars[:, 0] >= 0).tolist()
        for first in inside:
            for last in [at for at in inside if first <= at < first + span.ANSWER]:
                candidate = (values[first, 0] + values[last, 1], text[chars[first, 0] : chars[last, 1]])
                best[encoded.example[number]] = max(best[encoded.example[number]], candidate)
    drawn.shuffle(logits)
    assert span.decode(encoded, logits, OUTPUTS) == [text for _, text in best]


def test_some_of_the_examples_can_be_asked():
    """Windows of the others have no example then."""
    given_ = [
        example(text, text.split()[-1], id=str(number)) for number, text in enumerate(("a b Genf", "York c", "d e f"))
    ]
    encoded = span.encode(given_, TOKENIZERS["bert"], OUTPUTS, 32, 4)
    asked = np.array([2])
    part = predict_only(encoded, asked)
    found = [(window, rows) for window, rows in one_hot(encoded) if encoded.example[window] == 2]
    assert span.decode(part, found, OUTPUTS) == ["f"] and span.extents(part, found) == [(4, 5)]


def test_answers_are_short_and_never_empty():
    context = " ".join(["Genf"] * 99)
    encoded = span.encode([example(context, "Genf")], TOKENIZERS["bert"], OUTPUTS, 128, 16)
    ((window,), (outside, _)) = windows(encoded), next(parts(encoded))
    rows = np.zeros((window.stop, 2), np.float32)
    lead = len(outside) - 1
    rows[lead, 0], rows[lead + 60, 1], rows[lead + 29, 1] = 9, 9, 1
    assert span.decode(encoded, [(0, rows)], OUTPUTS) == [" ".join(["Genf"] * 30)]
    encoded.stats["longest_answer"] = 70
    assert span.decode(encoded, [(0, rows)], OUTPUTS) == [" ".join(["Genf"] * 61)]
    del encoded.stats["longest_answer"]
    # The likeliest starts all lie after the likeliest ends.
    rows = np.concatenate([np.arange(window.stop)[:, None], -np.arange(window.stop)[:, None]], 1).astype(np.float32)
    assert span.decode(encoded, [(0, rows)], OUTPUTS) == ["Genf"]
    rows[0] = 999  # the first token, which is no answer
    assert span.decode(encoded, [(0, rows)], OUTPUTS) == ["Genf"]
    invisible = SpanExample("q", " \u0000\u0007 ", "?", (("\u0000", 1),))
    encoded = span.encode([invisible], TOKENIZERS["bert"], OUTPUTS, 128, 16)
    assert span.decode(encoded, one_hot(encoded), OUTPUTS) == ["\u0000\u0007"] and encoded.stats["split"] == 1


# Questions without an answer


def unanswerable(number=6, without=(1, 4)):
    return [replace(one, answers=()) if at in without else one for at, one in enumerate(questions(number, longest=9))]


def raised(encoded, amount):
    """Logits of the gold spans, 18, and of the first tokens, ``amount[n]`` in example n and 2 more in odd windows."""
    for number, rows in one_hot(encoded):
        rows[0] = amount[encoded.example[number]] / 2 + number % 2
        yield number, rows


def test_without_an_answer_every_window_points_at_its_first_token():
    encoded = span.encode(unanswerable(), TOKENIZERS["bert"], OUTPUTS, 16, 2)
    assert encoded.stats["unanswerable"] == 2 and encoded.stats["split"] == 0
    held = np.zeros(6, bool)
    np.logical_or.at(held, encoded.example, (encoded.targets > 0).any(1))
    assert held.tolist() == [True, False, True, True, False, True]
    assert [gold == [] for gold in encoded.gold] == (~held).tolist()
    assert span.encode(unanswerable()[1:2], TOKENIZERS["bert"], OUTPUTS, 16, 2).words > 0


def test_no_answer_where_it_is_likelier_by_more_than_the_cutoff():
    one = unanswerable()
    encoded = span.encode(one, TOKENIZERS["bert"], OUTPUTS, 64, 8)
    assert len(encoded.example) == 6
    amounts = [10, 21, 17, 30, 40, 10]  # against 18 of an answer, 0 where there is none
    logits = [(n, rows) for n, rows in raised(encoded, np.array(amounts) - 2 * (np.arange(6) % 2))]
    texts = ["" if not own.answers else own.answers[0][0] for own in one]
    for cutoff, empty in ((0.0, {1, 3, 4}), (15.0, {1, 4}), (50.0, set()), (-9.0, set(range(6)))):
        found = span.decode(encoded, logits, OUTPUTS, cutoff)
        assert {at for at, text in enumerate(found) if not text} == empty, cutoff
        assert all(found[at] == texts[at] for at in set(range(6)) - empty - {1, 4})
    # The same questions without those two: none is left without an answer, however likely.
    answerable = span.encode([own for own in one if own.answers], TOKENIZERS["bert"], OUTPUTS, 64, 8)
    found = span.decode(answerable, list(raised(answerable, np.full(4, 99))), OUTPUTS)
    assert found == [text for text in texts if text]


def test_of_several_windows_the_least_likely_no_answer_counts():
    encoded = span.encode([*unanswerable(1), *unanswerable(2)[1:]], TOKENIZERS["bert"], OUTPUTS, 10, 2)
    window = np.flatnonzero(encoded.example == 0)
    assert len(window) > 1
    logits = dict(one_hot(encoded))
    for number in window:
        logits[number][0] = 50
    assert span.decode(encoded, logits.items(), OUTPUTS)[0] == ""
    logits[window[-1]][0] = 0
    assert span.decode(encoded, logits.items(), OUTPUTS)[0] != ""


@given(seed=st.integers(0, 9999), number=st.integers(2, 9))
@settings(deadline=None, max_examples=40)
def test_no_cutoff_is_better_than_the_tuned_one(seed, number):
    drawn = np.random.default_rng(seed)
    encoded = span.encode(unanswerable(number, {1, *drawn.integers(0, number, 2)}), TOKENIZERS["bert"], OUTPUTS, 64, 8)
    logits = list(raised(encoded, drawn.normal(12, 9, number).round()))

    def score(cutoff):
        return metrics.score(["answer_f1"], encoded.gold, span.decode(encoded, logits, OUTPUTS, cutoff))["answer_f1"]

    cutoff = span.tune(encoded, iter(logits), OUTPUTS)
    tried = np.linspace(-60, 60, 241)
    scores = np.array([score(each) for each in tried])
    assert score(cutoff) == pytest.approx(scores.max())
    assert cutoff == 0 or score(0) < score(cutoff)


def test_where_all_have_answers_there_is_nothing_to_tune():
    encoded = span.encode(questions(3), TOKENIZERS["bert"], OUTPUTS, 64, 8)
    assert span.tune(encoded, one_hot(encoded), OUTPUTS) is None
    assert isinstance(formats.get("span"), encoding.WithCutoff) and span.CUTOFF == 0


def test_decode_refuses_missing_examples():
    encoded = span.encode(questions(2), TOKENIZERS["bert"], OUTPUTS, 128, 16)
    with pytest.raises(ValueError, match="missing"):
        span.decode(encoded, one_hot(encoded)[:1], OUTPUTS)


@pytest.mark.parametrize(
    ("context", "text"),
    [
        ("He went to Denver.", "Denver"),
        ("  病人 住在日内瓦。", "日内瓦"),
        ("  病人 住在日内瓦。", "病人"),
        ("ผู้ป่วย เจนีวา", "เจนีวา"),
        ("Genf\u00a0\n(1920)", "1920"),
        ("e\u0301t\u00e9 Genf", "e\u0301t\u00e9"),
        ("🙂🙂 Genf", "Genf"),
        ("🙂🙂 Genf", "🙂🙂"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_targets_stand_for_the_answer_alone(kind, context, text):
    tokenizer = tiny_tokenizer(kind, [*TEXTS, "🙂 ( ) 1 9 2 0 H e w n t o D v r . \u0301 \u00e9 。 住"])
    encoded = span.encode([example(context, text)], tokenizer, OUTPUTS, 64, 8)
    assert gold_texts(encoded) == [{text}]
    first, last = encoded.targets[0]
    tokens = tokenizer.convert_ids_to_tokens(encoded.tokens[first : last + 1].tolist())
    assert tokens[0] not in ("▁", "Ġ") and tokens[-1] not in ("▁", "Ġ")  # these say little


def test_the_first_answer_is_learned_and_all_are_kept():
    encoded = span.encode([example("Anna Genf York", "York", "Genf")], TOKENIZERS["bert"], OUTPUTS, 64, 8)
    assert encoded.gold == [["York", "Genf"]] and gold_texts(encoded) == [{"York"}]


def test_a_window_without_the_whole_answer_points_at_its_first_token():
    context = " ".join(["Anna"] * 20 + ["Genf", "York", "London"] + ["Anna"] * 5)
    encoded = span.encode([example(context, "Genf York London")], TOKENIZERS["bert"], OUTPUTS, 32, 4)
    assert encoded.stats["windows"] == 2 and encoded.stats["split"] == 0
    ((first, last), nothing) = sorted(encoded.targets.tolist(), reverse=True)
    assert nothing == [0, 0] and last - first == 2
    # Longer than the overlap, across the border: in no window, whatever the answer is.
    split = span.encode([example(context, " ".join(context.split()[:26]))], TOKENIZERS["bert"], OUTPUTS, 32, 4)
    assert split.stats["split"] == 1 and (split.targets == encoding.IGNORED).all()
    logits = torch.randn(len(split.tokens), 2)
    assert span.loss(logits, torch.from_numpy(split.targets).long(), np.diff(split.offsets).tolist()) == 0
    assert (split.tokens == encoded.tokens).all() and (split.offsets == encoded.offsets).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_is_encoded_alike_among_others(kind):
    """Neighbours differ in everything: texts that end with the answer or with blanks, and that have no sub-token."""
    end, blank = "病人 Genf", "Anna in Genf  \n"
    given_ = [
        example(end, "Genf", id="end"),
        SpanExample("none", "\u0000", "", (("\u0000", 0),)),
        SpanExample("blank", blank, "Anna ?", ((blank[-3:], len(blank) - 3),)),
        example(" ".join(TEXTS), "Genf", question=" ".join(TEXTS), id="long"),
        example(end, "病人", id="begin"),
        SpanExample("all", blank, "Genf ?", ((blank, 0),)),
    ]
    together = span.encode(given_, TOKENIZERS[kind], OUTPUTS, 48, 8)
    for number, one in enumerate(given_):
        alone = span.encode([one], TOKENIZERS[kind], OUTPUTS, 48, 8)
        these = np.flatnonzero(together.example == number)
        window = slice(together.offsets[these[0]], together.offsets[these[-1] + 1])
        np.testing.assert_array_equal(together.tokens[window], alone.tokens)
        np.testing.assert_array_equal(together.chars[window], alone.chars)
        np.testing.assert_array_equal(together.targets[these], alone.targets)
        assert together.words[number] == alone.words[0]


def test_long_questions_lose_their_end():
    tokenizer = TOKENIZERS["bert"]
    one = example("Genf " * 300, "Genf", question=" ".join(["Anna"] * 32 + ["York"] * 48))
    for max_length, kept in ((384, 64), (128, 62), (64, 30)):
        encoded = span.encode([one], tokenizer, OUTPUTS, max_length, 16)
        for outside, inside in parts(encoded):
            assert len(outside) == kept + 3 and len(inside) <= max_length - kept - 3
            asked = tokenizer.convert_ids_to_tokens(outside[1:-2])
            assert asked == ["Anna"] * 32 + ["York"] * (kept - 32) if kept > 32 else asked == ["Anna"] * kept
        assert encoded.stats["truncated"] == 1
        assert (encoded.words, encoded.stats["words"]) == (300 + kept, 380)


def test_a_text_is_stored_once(tmp_path):
    given_ = [
        example(TEXTS[0], "Geneva", id="a"),
        example(TEXTS[1], "York", id="b"),
        example(TEXTS[0], "Monday", id="c"),
    ]
    encoded = span.encode(given_, TOKENIZERS["bert"], OUTPUTS, 24, 4)
    assert encoded.texts == list(TEXTS[:2])
    assert [encoded.texts[at] for at in encoded.text] == [given_[at].context for at in encoded.example]
    encoding.save(encoded, tmp_path)
    loaded = encoding.load(tmp_path, encoded.stats)
    for name in ("tokens", "offsets", "example", "targets", "words", "types", "chars", "text"):
        old, new = getattr(encoded, name), getattr(loaded, name)
        assert old.dtype == new.dtype and np.array_equal(old, new) and old.shape == new.shape
    for name in ("texts", "gold", "ids", "clusters", "word"):
        assert getattr(encoded, name) == getattr(loaded, name)
    kinds = [getattr(encoded, name).dtype.name for name in ("tokens", "targets", "chars", "text", "words", "example")]
    assert set(kinds) == {"int32"} and encoded.offsets.dtype == np.int64
    assert encoded.targets.shape == (len(encoded.text), 2) and encoded.chars.shape == (len(encoded.tokens), 2)
    assert span.decode(loaded, one_hot(loaded), OUTPUTS) == ["Geneva", "York", "Monday"]


def test_no_examples():
    encoded = span.encode([], TOKENIZERS["bert"], OUTPUTS, 16, 2)
    assert len(encoded) == len(encoded.tokens) == 0 and encoded.offsets.tolist() == [0]
    assert span.decode(encoded, [], OUTPUTS) == []


def test_bad_input_is_named():
    with pytest.raises(InputError, match="max_length 4 leaves no room for text: 3 tokens of each window are special"):
        span.encode(questions(1), TOKENIZERS["bert"], OUTPUTS, 4, 0)
    with pytest.raises(InputError, match="span needs a fast tokenizer"):
        span.encode(questions(1), object(), OUTPUTS, 64, 8)
    assert formats.get("span") is span and span.outputs([], "plain") == OUTPUTS


def test_head_and_loss_are_those_of_transformers(tmp_path):
    from transformers import AutoModelForQuestionAnswering

    model = AutoModelForQuestionAnswering.from_pretrained(tiny_checkpoint(tmp_path, "bert")).eval()
    encoded = span.encode(questions(6, longest=9), TOKENIZERS["bert"], OUTPUTS, 64, 8)
    torch.manual_seed(3)
    head = span.head(32, 2, dropout=0.5).train()
    assert set(head.state_dict()) == {"out.weight", "out.bias"} and not head.out.bias.any()
    with torch.no_grad():
        head.out.weight.mul_(50)  # logits that differ
    model.qa_outputs.load_state_dict({name.removeprefix("out."): value for name, value in head.state_dict().items()})
    rows, expected = [], 0.0
    targets = torch.from_numpy(encoded.targets).long()
    for number, window in enumerate(windows(encoded)):
        found = model(
            input_ids=torch.from_numpy(encoded.tokens[window]).long()[None],
            token_type_ids=torch.from_numpy(encoded.types[window]).long()[None],
            start_positions=targets[number, :1],
            end_positions=targets[number, 1:],
            output_hidden_states=True,
        )
        rows.append(head(found.hidden_states[-1][0]))
        torch.testing.assert_close(rows[-1], torch.stack([found.start_logits[0], found.end_logits[0]], 1))
        expected += found.loss
    logits, lengths = torch.cat(rows), [len(row) for row in rows]
    assert len(set(lengths)) > 1
    loss = span.loss(logits, targets, lengths)
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss, head.out.weight)
    assert gradient.isfinite().all() and gradient.any()
    assert span.loss(logits.bfloat16(), targets, lengths).dtype == torch.float32


def test_head_is_drawn_from_the_seed():
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append(span.head(384, 2, 0.1).state_dict()["out.weight"])
    assert torch.equal(*drawn) and 0.015 < drawn[0].std() < 0.025


def test_counts():
    assert formats.get("span").counts(["in Genf", "Genf"], "the Genf") == [1, 1, 2]


@pytest.fixture(scope="session")
def vocabulary():
    """The bundled backbone's tokenizer, which is XLM-R's."""
    pytest.importorskip("sentencepiece", reason="needs the extra 'bundled'")
    try:
        return load_tokenizer(bundled.ensure(cache_folder()))
    except InputError as problem:
        pytest.skip(f"the bundled backbone is not here: {problem}")


@pytest.mark.data
@pytest.mark.parametrize("task_id", ["squad_subset", "tydiqa_goldp", "xquad", "mlqa", "policyqa"])
@pytest.mark.parametrize(("max_length", "stride"), [(384, 128), (128, 32)])
def test_real_answers_come_back(task_id, max_length, stride, vocabulary):
    """The tokens of an answer give its text back; where they give more, it is the rest of a sub-token."""
    task = known.find(task_id)
    try:
        sources.folder(task, DATA)
    except InputError as problem:
        pytest.skip(f"no real data: {problem}")
    same = found = split = 0
    for name in task.splits:
        for language in task.splits[name].paths():
            given_ = list(sources.read(task, name, language, DATA))
            encoded = span.encode(given_, vocabulary, OUTPUTS, max_length, stride)
            split += encoded.stats["split"]
            for one, texts in zip(given_, gold_texts(encoded), strict=True):
                if texts:
                    (text,), (answer, _) = texts, one.answers[0]
                    found += 1
                    same += answers.words(text) == answers.words(answer)
                    assert answer.strip("\u200b") in text
                    before, after = text.split(answer.strip("\u200b"), 1)
                    assert len(before) < 12 and len(after) < 12
    assert same >= 0.98 * found
    assert split == {"policyqa": 66, "tydiqa_goldp": 5}.get(task_id, 0) * (max_length == 128)
