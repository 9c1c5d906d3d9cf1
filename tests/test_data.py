"""The book's texts keep the promises that the experiments rest on."""

import re
from collections import Counter

import pytest

from steering_utils import single_token_ids
from steering_utils.pages.judges import sentiment
from steering_utils.pages.tables import token_table
from steering_utils.pages.texts import (
    DEV_NEGATIVE_WORDS,
    DEV_POSITIVE_WORDS,
    DEV_PROMPTS,
    DOMAINS,
    EXAMPLES,
    FACTUAL_CHOICES,
    HELD_OUT_NEGATIVE,
    HELD_OUT_POSITIVE,
    HELD_OUT_PROMPTS,
    INSTRUCTIONS,
    JUDGE_LESSONS,
    LABELLED_TEXTS,
    NEGATION_PAIRS,
    NEGATIVE_WORDS,
    NEUTRAL_TEXTS,
    OTHER_PROMPTS,
    POSITIVE_WORDS,
    SENTIMENT_PAIRS,
    SHARED,
    TEMPLATES,
    TENSE_PROMPTS,
    TENSE_WORDS,
    contrastive_pairs,
)

HELD_OUT = [*HELD_OUT_POSITIVE, *HELD_OUT_NEGATIVE]
CHOOSING = [*DEV_POSITIVE_WORDS, *DEV_NEGATIVE_WORDS]
REPORTING = [*POSITIVE_WORDS, *NEGATIVE_WORDS]
SCORING = [*CHOOSING, *REPORTING]
TEXTS = {  # what scores, steers by words or teaches a judge
    "scoring words": SCORING,
    "sentences": HELD_OUT,
    "test prompts": HELD_OUT_PROMPTS,
    "dev prompts": DEV_PROMPTS,
    "other prompts": OTHER_PROMPTS,
    "neutral": NEUTRAL_TEXTS,
    "tense prompts": TENSE_PROMPTS,
    "tense words": [verb for pair in TENSE_WORDS for verb in pair],
    "facts": [text for prompt, right, wrong in FACTUAL_CHOICES for text in (prompt, right, *wrong)],
    "instructions": [text for wordings in INSTRUCTIONS for text in wordings],
    "examples": [text for texts in EXAMPLES.values() for text in texts],
    "lessons": [text for pair in JUDGE_LESSONS for text in pair],
    "labelled": [text for text, _ in LABELLED_TEXTS],
}


def words(text):
    return set(re.findall(r"[a-z]+", text.lower()))


def all_words(texts):
    return set().union(*map(words, texts))


def opening(text):
    return text.rsplit(" ", 1)[0]


def last_words(pairs):
    return {text.split()[-1] for pair in pairs for text in pair}


def adjective_pairs(pairs):
    return {tuple(text.split()[-1] for text in pair) for pair in pairs}


ADJECTIVES = {word for a, b in SENTIMENT_PAIRS for word in words(a) ^ words(b)}
BY_SPLIT = {split: contrastive_pairs(split, DOMAINS) for split in TEMPLATES}
EVERY_PAIR = [pair for pairs in BY_SPLIT.values() for pair in pairs]
EVERY_ADJECTIVE = ADJECTIVES | last_words(EVERY_PAIR)


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


@pytest.mark.parametrize("split", TEMPLATES)
def test_pairs_differ_in_their_last_token_alone_and_that_is_a_whole_word(one_of_both, split):
    for positive, negative in BY_SPLIT[split]:
        a, b = (one_of_both(text)["input_ids"] for text in (positive, negative))
        assert len(a) == len(b), (positive, negative)
        assert a[:-1] == b[:-1] and a[-1] != b[-1], (positive, negative)
    single_token_ids(one_of_both, sorted(last_words(BY_SPLIT[split])))  # raises where a word is split


@pytest.mark.parametrize("name", DOMAINS)
def test_each_domain_has_four_templates_to_train_on_and_two_each_for_dev_and_test(name):
    own, templates, _ = DOMAINS[name]
    assert own in TEMPLATES and len(templates) == 8
    for split, n in {"train": 4, "dev": 2, "test": 2}.items():
        pairs = contrastive_pairs(split, name)
        assert len({opening(a) for a, _ in pairs}) == n
        assert len(pairs) == len(set(pairs)) == n * len(adjective_pairs(pairs))  # each adjective with each
        assert len(adjective_pairs(pairs)) >= {"train": 14, "dev": 4, "test": 5}[split]


def test_the_default_splits_are_large_enough_to_be_used():
    found = {split: contrastive_pairs(split) for split in TEMPLATES}
    assert [len(pairs) for pairs in found.values()] == [4 * 4 * 14, 2 * 12, 2 * 13]
    different = {split: len(adjective_pairs(pairs)) for split, pairs in found.items()}
    assert different["train"] >= 40 and different["dev"] >= 12 and different["test"] >= 12
    for split in ("dev", "test"):
        first = found[split][: different[split]]
        assert len(adjective_pairs(first)) == different[split]  # each adjective before any comes twice


def test_splits_share_no_template_and_no_adjective_and_by_default_no_domain():
    parts = [(last_words(p), {opening(a) for a, _ in p}) for p in BY_SPLIT.values()]
    for i, (adjectives, openings) in enumerate(parts):
        for other_adjectives, other_openings in parts[:i]:
            assert not adjectives & other_adjectives and not openings & other_openings
    assert not last_words(BY_SPLIT["dev"] + BY_SPLIT["test"]) & ADJECTIVES
    home = {split: {opening(a) for a, _ in contrastive_pairs(split)} for split in TEMPLATES}
    assert home["test"] == {*DOMAINS["work"][1][6:]} and home["dev"] == {*DOMAINS["weather"][1][4:6]}


def test_an_adjective_has_one_partner_and_one_side():
    pairs = adjective_pairs(EVERY_PAIR)
    assert len({word for pair in pairs for word in pair}) == 2 * len(pairs)


@pytest.mark.parametrize("affix", ["un-", "in-", "im-", "ir-", "dis-", "mis-", "non-", "-less"])
def test_no_adjective_is_denied_by_a_syllable(affix):
    has = str.endswith if affix.startswith("-") else str.startswith
    found = {word for word in last_words(EVERY_PAIR) if has(word, affix.strip("-"))}
    assert found <= {"irritating"}  # which denies nothing


def test_scoring_words_are_as_plain_as_the_pairs():
    for positive, negative in ((DEV_POSITIVE_WORDS, DEV_NEGATIVE_WORDS), (POSITIVE_WORDS, NEGATIVE_WORDS)):
        for side in (positive, negative):
            assert not [word for word in side if re.search("^un|^non|less$", word)]


def test_shared_adjectives_are_in_every_domain():
    for split, shared in SHARED.items():
        for name in DOMAINS:
            pairs = adjective_pairs(contrastive_pairs(split, name))
            assert {tuple(pair.split("/")) for pair in shared.split()} <= pairs


@pytest.mark.parametrize(("n", "n_adjectives"), [(8, 16), (16, 32), (32, 48)])
def test_the_first_pairs_have_many_adjectives_and_all_domains(n, n_adjectives):
    some = contrastive_pairs("train")[:n]
    assert len(last_words(some)) >= n_adjectives
    home = {text: name for name, (_, templates, _) in DOMAINS.items() for text in templates}
    assert {home[opening(positive)] for positive, _ in some} == {"movies", "food", "people", "products"}


def test_domains_of_unequal_size_take_turns_and_lose_nothing():
    both = contrastive_pairs("dev", ["food", "weather"])
    alone = [contrastive_pairs("dev", name) for name in ("food", "weather")]
    assert set(both) == {*alone[0], *alone[1]} and len(both) == len(alone[0]) + len(alone[1])
    assert both[0] in alone[0] and both[1] in alone[1] and both[-1] in alone[1]


@pytest.mark.parametrize(
    "bad", [{"split": "validation"}, {"domains": "music"}, {"domains": ["food", "music"]}]
)
def test_an_unknown_split_or_domain_is_refused(bad):
    with pytest.raises(ValueError, match=r"choose .*(train|movies)"):
        contrastive_pairs(**bad)


@pytest.mark.parametrize("kind", TEXTS)
def test_nothing_that_scores_or_teaches_shares_an_adjective_with_the_pairs(kind):
    assert not EVERY_ADJECTIVE & all_words(TEXTS[kind])


def test_scoring_words_are_single_tokens_of_their_own(one_of_both):
    assert len(set(single_token_ids(one_of_both, SCORING))) == len(SCORING)


def test_words_that_choose_are_not_those_that_report():
    assert len(DEV_POSITIVE_WORDS) == len(DEV_NEGATIVE_WORDS) == 12
    assert len(POSITIVE_WORDS) == len(NEGATIVE_WORDS) and 12 <= len(POSITIVE_WORDS) <= 15
    assert not {*CHOOSING} & {*REPORTING} and len({*SCORING}) == len(SCORING)


@pytest.mark.parametrize("kind", ["test prompts", "dev prompts", "other prompts", "neutral", "tense prompts"])
def test_texts_without_tone_have_none_by_words(kind):
    assert not {*SCORING} & all_words(TEXTS[kind])
    assert {*sentiment(TEXTS[kind])} == {0.0}


def test_requests_for_a_tone_do_not_hand_over_the_words():
    assert not {*SCORING} & all_words(TEXTS["instructions"] + TEXTS["examples"])
    assert len(INSTRUCTIONS) >= 5 and {len(wordings) for wordings in INSTRUCTIONS} == {3}
    for wordings in INSTRUCTIONS:
        assert all(re.fullmatch(r"[A-Z][^.!?]+\.", text) for text in wordings)  # one sentence each
        assert wordings[0] != wordings[1] and words(wordings[2]) <= words(wordings[0]) & words(wordings[1])
    assert set(EXAMPLES) == {"positive", "negative", "plain"}
    assert {len(texts) for texts in EXAMPLES.values()} == {5}
    assert all(text.endswith(".") for text in TEXTS["examples"])
    assert {*sentiment(EXAMPLES["plain"])} == {0.0}
    assert (
        max(sentiment([plain for *_, plain in INSTRUCTIONS])) < 0.1
    )  # to VADER, a sentence is a little good
    assert sentiment(EXAMPLES["positive"]).mean() > 0 > sentiment(EXAMPLES["negative"]).mean()


def test_nothing_stands_twice():
    every = [
        *(text for kind, texts in TEXTS.items() if kind not in ("facts", "instructions") for text in texts),
        *(prompt for prompt, *_ in FACTUAL_CHOICES),
        *(text for *sides, _ in INSTRUCTIONS for text in sides),
        *(text for pair in EVERY_PAIR for text in pair),
        *(text for *pair, _ in NEGATION_PAIRS for text in pair),
        *(text for pair in SENTIMENT_PAIRS for text in pair),
    ]
    assert [text for text, n in Counter(every).items() if n > 1] == []


def test_held_out_sentences_come_in_pairs_too():
    for positive, negative in zip(HELD_OUT_POSITIVE, HELD_OUT_NEGATIVE, strict=True):
        assert len(positive.split()) == len(negative.split())
        assert len(words(positive) - words(negative)) == 1


def test_prompts_open_differently_from_each_other_and_from_every_pair():
    assert len(DEV_PROMPTS) == 24 and len(HELD_OUT_PROMPTS) == 48
    prompts = DEV_PROMPTS + HELD_OUT_PROMPTS + OTHER_PROMPTS
    starts = [" ".join(prompt.split()[:4]) for prompt in prompts]
    assert [start for start, n in Counter(starts).items() if n > 1] == []
    assert not {*prompts} & {opening(text) for pair in EVERY_PAIR for text in pair}


def test_both_halves_of_the_test_prompts_are_alike():
    halves = HELD_OUT_PROMPTS[:24], HELD_OUT_PROMPTS[24:]
    same = {"were": "was", "us": "me"}
    kinds = [Counter(same.get(p.split()[-1], p.split()[-1]) for p in half) for half in halves]
    assert sum((kinds[0] - kinds[1]).values()) <= 4  # how many end in another word


def test_neutral_texts_end_in_tokens_of_many_kinds(one_of_both):
    last = Counter(one_of_both(text)["input_ids"][-1] for text in NEUTRAL_TEXTS)
    assert len(NEUTRAL_TEXTS) == 30 and len(last) >= 16
    assert max(last.values()) <= 10  # full stops


def test_facts_are_choices_and_no_template_dominates(one_of_both):
    assert len(FACTUAL_CHOICES) >= 36
    assert max(Counter(" ".join(p.split()[:2]) for p, *_ in FACTUAL_CHOICES).values()) <= 6
    for prompt, right, wrong in FACTUAL_CHOICES:
        assert len({right, *wrong}) == 4, prompt
        assert len(set(single_token_ids(one_of_both, [right, *wrong]))) == 4
        assert right not in prompt.split(), prompt


def test_the_right_answers_are_not_rarer_than_the_wrong_ones(tokenizer):
    """Else a model that only knows how frequent words are would do better or worse than chance."""
    ranks = [single_token_ids(tokenizer, [right, *wrong]) for _, right, wrong in FACTUAL_CHOICES]
    first = sum(min(row) == row[0] for row in ranks) / len(ranks)
    assert 0.1 < first < 0.45


def test_tense_words_are_verbs_of_one_token_in_both_forms(one_of_both):
    forms = [form for pair in TENSE_WORDS for form in pair]
    assert len(set(single_token_ids(one_of_both, forms))) == 2 * len(TENSE_WORDS) == 32
    assert len(TENSE_PROMPTS) == 24


def test_negated_sentences_use_adjectives_of_the_test_split():
    positive, negative = ({p[i].split()[-1] for p in BY_SPLIT["test"]} for i in (0, 1))
    for plain, negated, tone in NEGATION_PAIRS:
        assert negated.replace("not ", "") == plain
        assert plain.split()[-1] in (positive if tone > 0 else negative)
    assert sum(tone for *_, tone in NEGATION_PAIRS) == 0 and len(NEGATION_PAIRS) == 24


def test_the_judge_learns_from_pairs_of_whole_sentences_that_do_not_judge_it():
    assert len(JUDGE_LESSONS) >= 40
    assert all(text[-1] in ".!" and len(text.split()) >= 5 for text in TEXTS["lessons"])
    assert all(abs(len(a.split()) - len(b.split())) <= 4 for a, b in JUDGE_LESSONS)
    assert not {*TEXTS["lessons"]} & {*TEXTS["labelled"]}


def test_labelled_texts_are_even():
    assert sum(label for _, label in LABELLED_TEXTS) == 0 and len(LABELLED_TEXTS) == 60
    assert {label for _, label in LABELLED_TEXTS} == {1, -1}
