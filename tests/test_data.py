"""The book's texts keep the promises that the experiments rest on."""

import pytest

from steering_utils import single_token_ids
from steering_utils.pages.tables import token_table
from steering_utils.pages.texts import (
    DEV_PROMPTS,
    DOMAINS,
    FACTUAL_PROMPTS,
    HELD_OUT_NEGATIVE,
    HELD_OUT_POSITIVE,
    HELD_OUT_PROMPTS,
    LABELLED_TEXTS,
    NEGATION_PAIRS,
    NEGATIVE_WORDS,
    NEUTRAL_TEXTS,
    PAST_WORDS,
    POSITIVE_WORDS,
    PRESENT_WORDS,
    SENTIMENT_PAIRS,
    TEMPLATES,
    TENSE_PAIRS,
    TENSE_PROMPTS,
    contrastive_pairs,
)

HELD_OUT = [*HELD_OUT_POSITIVE, *HELD_OUT_NEGATIVE]
SCORING = [*POSITIVE_WORDS, *NEGATIVE_WORDS]


def words(text):
    return {word.strip(".,").lower() for word in text.split()}


def last_words(pairs):
    return {text.split()[-1] for pair in pairs for text in pair}


ADJECTIVES = {word for a, b in SENTIMENT_PAIRS for word in words(a) ^ words(b)}
BY_SPLIT = {split: contrastive_pairs(split, DOMAINS) for split in TEMPLATES}
EVERY_ADJECTIVE = ADJECTIVES.union(*map(last_words, BY_SPLIT.values()))


@pytest.fixture(params=["GPT-2", "packaged"])
def one_of_both(request, tokenizer, packaged):
    return tokenizer if request.param == "GPT-2" else packaged[1]


def test_members_of_a_pair_differ_in_one_word():
    assert all(len(words(a) - words(b)) == len(words(b) - words(a)) == 1 for a, b in SENTIMENT_PAIRS)
    assert len(ADJECTIVES) == 16


def test_the_pairs_match_in_gpt2s_tokens(tokenizer):
    rows = token_table(tokenizer, SENTIMENT_PAIRS)
    assert [row["lengths"] for row in rows] == [(n, n) for n in (6, 7, 6, 5, 4, 6, 4, 4)]
    assert all(row["same_length"] for row in rows)
    assert rows[6]["positive"] == ["The", " weather", " is", " beautiful"]


def test_one_pair_does_not_match_in_the_packaged_models_tokens(packaged):
    rows = token_table(packaged[1], SENTIMENT_PAIRS)
    assert rows[1]["lengths"] == (7, 8)
    assert [row["same_length"] for row in rows] == [True, False, *[True] * 6]


def test_scoring_words_are_single_tokens_of_their_own(tokenizer, packaged):
    for one in (tokenizer, packaged[1]):
        assert len(set(single_token_ids(one, SCORING))) == len(SCORING)


def test_both_sides_have_equal_numbers():
    assert len(POSITIVE_WORDS) == len(NEGATIVE_WORDS)
    assert len(HELD_OUT_POSITIVE) == len(HELD_OUT_NEGATIVE)


@pytest.mark.parametrize(
    "texts",
    [
        SCORING,
        HELD_OUT,
        HELD_OUT_PROMPTS,
        DEV_PROMPTS,
        NEUTRAL_TEXTS,
        TENSE_PROMPTS,
        [t for p in TENSE_PAIRS for t in p],
    ],
    ids=["scoring", "sentences", "test prompts", "dev prompts", "neutral", "tense prompts", "tense"],
)
def test_nothing_that_scores_shares_an_adjective_with_the_pairs(texts):
    assert not EVERY_ADJECTIVE & set().union(*map(words, texts))


def test_prompts_and_neutral_texts_have_no_tone_of_their_own():
    assert not set(SCORING) & set().union(*map(words, HELD_OUT_PROMPTS + DEV_PROMPTS + NEUTRAL_TEXTS))


def test_nothing_stands_twice():
    every = [
        *HELD_OUT,
        *HELD_OUT_PROMPTS,
        *DEV_PROMPTS,
        *TENSE_PROMPTS,
        *NEUTRAL_TEXTS,
        *(text for text, _ in LABELLED_TEXTS + FACTUAL_PROMPTS),
        *(text for pairs in [*BY_SPLIT.values(), TENSE_PAIRS] for p in pairs for text in p),
        *(text for *pair, _ in NEGATION_PAIRS for text in pair),
        *SCORING,
        *(text for p in SENTIMENT_PAIRS[1:] for text in p),
    ]
    assert len(set(every)) == len(every)


def test_held_out_sentences_come_in_pairs_too():
    for positive, negative in zip(HELD_OUT_POSITIVE, HELD_OUT_NEGATIVE, strict=True):
        assert len(positive.split()) == len(negative.split())
        assert len(words(positive) - words(negative)) in (1, 2)  # two where a differs from an


@pytest.mark.parametrize("split", TEMPLATES)
def test_pairs_differ_in_their_last_token_alone(one_of_both, split):
    for positive, negative in BY_SPLIT[split]:
        a, b = (one_of_both(text)["input_ids"] for text in (positive, negative))
        assert len(a) == len(b), (positive, negative)
        assert a[:-1] == b[:-1] and a[-1] != b[-1], (positive, negative)


def test_each_domain_has_six_templates_and_twenty_four_adjectives_a_side():
    for name, (own, templates, _) in DOMAINS.items():
        assert own in TEMPLATES and len(templates) == 6
        sides = [
            {pair[i].split()[-1] for s in TEMPLATES for pair in contrastive_pairs(s, name)} for i in (0, 1)
        ]
        assert [len(side) for side in sides] == [24, 24]
        assert [len(contrastive_pairs(split, name)) for split in TEMPLATES] == [4 * 16, 4, 4]


def test_splits_share_no_template_and_no_adjective_and_by_default_no_domain():
    parts = [(last_words(p), {a.rsplit(" ", 1)[0] for a, _ in p}) for p in BY_SPLIT.values()]
    for i, (adjectives, openings) in enumerate(parts):
        for other_adjectives, other_openings in parts[:i]:
            assert not adjectives & other_adjectives and not openings & other_openings
    assert [len(contrastive_pairs(split)) for split in TEMPLATES] == [4 * 64, 4, 4]
    assert {a.rsplit(" ", 1)[0] for a, _ in contrastive_pairs("test")} == {DOMAINS["work"][1][5]}


def test_no_adjective_is_on_both_sides():
    positive, negative = ({p[i].split()[-1] for pairs in BY_SPLIT.values() for p in pairs} for i in (0, 1))
    assert not positive & negative


@pytest.mark.parametrize(("n", "n_adjectives"), [(8, 16), (16, 32), (32, 48)])
def test_the_first_pairs_have_many_adjectives_and_all_domains(n, n_adjectives):
    some = contrastive_pairs("train")[:n]
    assert len(last_words(some)) >= n_adjectives
    home = {opening: name for name, (_, templates, _) in DOMAINS.items() for opening in templates}
    assert {home[positive.rsplit(" ", 1)[0]] for positive, _ in some} == {
        "movies",
        "food",
        "people",
        "products",
    }


@pytest.mark.parametrize(
    "bad", [{"split": "validation"}, {"domains": "music"}, {"domains": ["food", "music"]}]
)
def test_an_unknown_split_or_domain_is_refused(bad):
    with pytest.raises(ValueError, match=r"choose .*(train|movies)"):
        contrastive_pairs(**bad)


def test_tense_pairs_match_and_differ_in_their_last_token(one_of_both):
    for row in token_table(one_of_both, TENSE_PAIRS):
        assert row["same_length"] and row["positive"][:-1] == row["negative"][:-1]
    assert len(TENSE_PAIRS) == 24
    assert not last_words(TENSE_PAIRS) & {*PRESENT_WORDS, *PAST_WORDS}


def test_words_that_score_tense_and_facts_are_single_tokens(one_of_both):
    assert len(set(single_token_ids(one_of_both, PRESENT_WORDS + PAST_WORDS))) == 2 * len(PRESENT_WORDS)
    assert len(single_token_ids(one_of_both, [answer for _, answer in FACTUAL_PROMPTS])) == 30
    assert len(PRESENT_WORDS) == len(PAST_WORDS)


def test_negated_sentences_use_adjectives_of_the_test_split():
    positive, negative = ({p[i].split()[-1] for p in BY_SPLIT["test"]} for i in (0, 1))
    for plain, negated, tone in NEGATION_PAIRS:
        assert negated.replace("not ", "") == plain
        assert plain.split()[-1] in (positive if tone > 0 else negative)
    assert sum(tone for *_, tone in NEGATION_PAIRS) == 0 and len(NEGATION_PAIRS) == 24


def test_labelled_texts_are_even_and_no_pair_taught_them():
    assert sum(label for _, label in LABELLED_TEXTS) == 0 and len(LABELLED_TEXTS) == 60
    assert {label for _, label in LABELLED_TEXTS} == {1, -1}
    assert not {text for text, _ in LABELLED_TEXTS} & {text for p in BY_SPLIT["train"] for text in p}


def test_dev_and_test_prompts_open_differently():
    assert len(DEV_PROMPTS) == len(HELD_OUT_PROMPTS) == 24
    assert not {" ".join(p.split()[:3]) for p in DEV_PROMPTS} & {
        " ".join(p.split()[:3]) for p in HELD_OUT_PROMPTS
    }
