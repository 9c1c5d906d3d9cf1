"""Prompts of every kind: texts as people type them, token ids, templates; what is no prompt is refused."""

import copy
import json

import numpy as np
import pytest
import torch
from by_hand import close, logits
from conftest import PROMPTS, hooks_on, some_vector, tiny_model
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast

from steering_utils import (
    capture,
    continuation_kl,
    continuation_nll,
    generate,
    mean_difference,
    next_token_logits,
    single_token_ids,
    steer,
    token_positions,
)
from steering_utils.pages.tables import token_table
from steering_utils.tokens import encode, token_texts

TEXT = "The weather was good"
READS = {
    "capture": lambda m, t, p: capture(m, t, p).values,
    "next_token_logits": lambda m, t, p: next_token_logits(m, t, p),
    "generate": lambda m, t, p: generate(m, t, p, max_new_tokens=2),
    "continuation_nll": lambda m, t, p: continuation_nll(m, t, p, [" here"] * n_prompts(p)),
}


def n_prompts(prompts):
    """How many prompts that is: a text or a flat list of numbers is one."""
    if isinstance(prompts, str | dict) or not np.ndim(prompts if isinstance(prompts, torch.Tensor) else [0]):
        return 1
    if not hasattr(prompts, "__len__") or not len(prompts):
        return 1
    return 1 if np.ndim(prompts[0]) == 0 and not isinstance(prompts[0], str) else len(prompts)


def same(a, b):
    """Equal, whatever kind of result it is."""
    return a == b if isinstance(a, list) else np.array_equal(np.asarray(a), np.asarray(b))


# --- token ids -----------------------------------------------------------------------------------

ONE_PROMPT = {
    "list": lambda ids: ids,
    "tuple": tuple,
    "list of one list": lambda ids: [ids],
    "tuple of tuples": lambda ids: (tuple(ids),),
    "tensor": torch.tensor,
    "int32 tensor": lambda ids: torch.tensor(ids, dtype=torch.int32),
    "2-D tensor": lambda ids: torch.tensor([ids]),
    "list of tensors": lambda ids: [torch.tensor(ids)],
    "list of NumPy ints": lambda ids: list(np.array(ids)),
    "list of lists of NumPy ints": lambda ids: [list(np.array(ids))],
    "array": np.array,
    "2-D array": lambda ids: np.array([ids]),
    "list of arrays": lambda ids: [np.array(ids)],
    "uint16 array": lambda ids: np.array(ids, dtype=np.uint16),
    "list of 0-D tensors": lambda ids: list(torch.tensor(ids)),
}


@pytest.mark.parametrize("kind", ONE_PROMPT)
@pytest.mark.parametrize("read", READS)
def test_token_ids_of_every_kind_are_the_text_that_they_are_of(tokenizer, read, kind):
    model, ids = tiny_model("gpt2"), tokenizer(TEXT)["input_ids"]
    given = ONE_PROMPT[kind](ids)
    before = copy.deepcopy(given)
    assert same(READS[read](model, tokenizer, given), READS[read](model, tokenizer, [TEXT]))
    assert type(before) is type(given) and np.array_equal(np.asarray(before), np.asarray(given))  # untouched


def tensors(rows):
    return [torch.tensor(row) for row in rows]


@pytest.mark.parametrize("kind", [torch.tensor, np.array, list, tuple, tensors])
@pytest.mark.parametrize("read", READS)
def test_several_prompts_of_token_ids(tokenizer, read, kind):
    model, texts = tiny_model("gpt2"), [TEXT, "The weather was bad", "The people was good"]
    ids = tokenizer(texts)["input_ids"]
    assert {len(row) for row in ids} == {4}
    assert same(READS[read](model, tokenizer, kind(ids)), READS[read](model, tokenizer, texts))


@pytest.mark.parametrize("read", READS)
def test_texts_and_token_ids_of_different_lengths_together(tokenizer, read):
    model = tiny_model("gpt2")
    mixed = [PROMPTS[0], tokenizer(PROMPTS[1])["input_ids"], torch.tensor(tokenizer(PROMPTS[2])["input_ids"])]
    assert same(READS[read](model, tokenizer, mixed), READS[read](model, tokenizer, PROMPTS[:3]))
    assert same(READS[read](model, tokenizer, tuple(mixed)), READS[read](model, tokenizer, PROMPTS[:3]))


def test_token_ids_are_taken_as_they_are(tokenizer):
    """Also where they begin with the start token twice, or with padding's own id."""
    model = tiny_model("gpt2")
    for ids in ([50256, 50256, 40], [50256, 40], [50256], [40, 50256, 50256]):
        wanted = logits(model, torch.tensor([ids]))[0, -1]
        close(next_token_logits(model, tokenizer, ids)[0], wanted)
        assert encode(tokenizer, [ids])["input_ids"].tolist() == [ids]
    twice = tokenizer.eos_token * 2 + "I"  # typed by hand, where the tokenizer itself adds none
    assert encode(tokenizer, twice)["input_ids"].tolist() == [[50256, 50256, 40]]


# --- a single space ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [" ", "  ", "\n", "\t \n", " " * 40, "\u00a0"])
@pytest.mark.parametrize("read", READS)
def test_white_space_is_a_prompt(tokenizer, read, text):
    model, ids = tiny_model("gpt2"), tokenizer(text)["input_ids"]
    assert same(READS[read](model, tokenizer, text), READS[read](model, tokenizer, [ids]))
    together, alone = (READS[read](model, tokenizer, [p, text] if p else [text]) for p in ("I am so", ""))
    if isinstance(together, list):
        assert generate(model, tokenizer, ["I am so", text], max_new_tokens=2, seed=[5, 0])[1] == alone[0]
    else:
        np.testing.assert_allclose(together[1], alone[0], rtol=1e-4, atol=1e-4)


def test_the_classic_pair_of_a_word_and_a_space(tokenizer):
    """Turner et al.: the states of " wedding" minus those of " ", at each of their positions."""
    model = tiny_model("gpt2")
    sides = [capture(model, tokenizer, [text], layers=1) for text in (" wedding", " ")]
    vector = mean_difference(*sides, 1)
    assert vector.norm > 0
    assert vector.provenance["positive"] == [" wedding"] and vector.provenance["negative"] == [" "]
    pair = {"positive": [" wedding"], "negative": [" "], "lengths": (1, 1), "same_length": True}
    assert token_table(tokenizer, [(" wedding", " ")]) == [pair]
    with steer(model, vector, 2.0, positions="front"):
        assert len(generate(model, tokenizer, "I went up to my friend and said", max_new_tokens=2)) == 1


# --- pieces of characters, and words after spaces ------------------------------------------------


def test_tokens_that_are_a_piece_of_a_character_are_told_apart(tokenizer):
    ids = tokenizer("so 😀!")["input_ids"]
    texts = token_texts(tokenizer, ids)
    assert texts[0] == "so" and texts[-1] == "!"
    pieces = texts[1:-1]
    assert len(pieces) > 1 and len(set(pieces)) == len(pieces)
    assert all("\ufffd" not in text for text in texts)
    smiles, frowns = (token_texts(tokenizer, tokenizer(text)["input_ids"]) for text in ("😀", "😥"))
    assert smiles != frowns
    assert "".join(token_texts(tokenizer, tokenizer(" It’s  fine\n")["input_ids"])).endswith("  fine\n")


def test_tokens_of_the_model_that_the_tokenizer_does_not_know(tokenizer):
    """Many models have a few rows more in their vocabulary, and a list of likely tokens may hold one."""
    texts = token_texts(tokenizer, [40, 50300, 50301])
    assert texts[0] == "I" and len(set(texts)) == 3


def test_a_real_replacement_character_is_no_piece(tokenizer):
    """A text may have U+FFFD in it: what its tokens are together is still to be seen."""
    ids = tokenizer("a\ufffd")["input_ids"]
    texts = token_texts(tokenizer, ids)
    assert len(texts) == len(ids) and len(set(texts)) == len(texts)


def sentencepiece(**options):
    """A tokenizer of Llama's kind: it marks a word after a space by ▁, and knows bytes for what it lacks."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    words += ["▁good", "▁bad", "▁not", "good", "▁", "▁I", "▁am", "▁very", "g", "o", "d", "!", "user", ":"]
    vocabulary = [(word, -float(i > 2)) for i, word in enumerate(words)]
    made = Tokenizer(models.Unigram(vocabulary, unk_id=0, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    special = [AddedToken(text, special=True, normalized=False) for text in ("<unk>", "<s>", "</s>")]
    made.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>", **options
    )


def test_words_of_sentencepiece_keep_their_space():
    """Its decoder takes the space off the first token that it is given, and each is decoded alone."""
    tokenizer = sentencepiece()
    ids = tokenizer("good not good")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<s>", "▁good", "▁not", "▁good"]
    assert token_texts(tokenizer, ids) == ["<s>", " good", " not", " good"]
    assert token_texts(tokenizer, tokenizer.convert_tokens_to_ids(["good", "!", "▁"])) == ["good", "!", " "]
    assert token_positions(tokenizer, ["good not good", "I am not good !"], " good") == [3, 4]
    assert token_positions(tokenizer, ["good not bad"], " not") == [2]


def test_bytes_of_sentencepiece_are_told_apart():
    tokenizer = sentencepiece()
    ids = tokenizer("good é")["input_ids"]
    texts = token_texts(tokenizer, ids)
    assert texts[-2:] == ["⟨<0xC3>⟩", "⟨<0xA9>⟩"]


def test_words_after_a_space_with_sentencepiece():
    tokenizer = sentencepiece()
    ids = single_token_ids(tokenizer, ["good", "bad"])
    assert tokenizer.convert_ids_to_tokens(ids) == ["▁good", "▁bad"]


# --- templates and start tokens ------------------------------------------------------------------

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }} {% endfor %}"
)


@pytest.fixture(scope="module")
def chatty():
    """A tokenizer that gives each text a start token, with a chat template that writes it, too."""
    return sentencepiece(chat_template=TEMPLATE)


def small_llama():
    """A tiny Llama; its vocabulary is larger than that tokenizer's."""
    return tiny_model("llama")


def test_a_chat_template_that_writes_the_start_token_is_not_given_a_second(chatty):
    model = small_llama()
    messages = [{"role": "user", "content": "good"}]
    text = chatty.apply_chat_template(messages, tokenize=False)
    ids = chatty.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert text.startswith("<s>") and chatty(text)["input_ids"][:2] == [1, 1]  # what would happen
    assert encode(chatty, text)["input_ids"].tolist() == [ids]
    assert encode(chatty, [text, "good"])["input_ids"][1, :2].tolist() == [1, chatty.vocab["▁good"]]
    for read in READS.values():
        assert same(read(model, chatty, [text]), read(model, chatty, [ids]))
    assert encode(chatty, [ids])["input_ids"].tolist() == [ids]  # nor is one that is there taken away
    assert encode(chatty, [[1, *ids]])["input_ids"].tolist() == [[1, *ids]]


def test_a_continuation_gets_no_start_token(chatty):
    model = small_llama()
    prompt, rest = chatty("I am")["input_ids"], chatty(" good", add_special_tokens=False)["input_ids"]
    z = logits(model, torch.tensor([prompt + rest]))[0, len(prompt) - 1 : -1].log_softmax(-1)
    wanted = -float(z[range(len(rest)), rest].mean())
    assert continuation_nll(model, chatty, "I am", " good") == pytest.approx(wanted, rel=1e-4)


# --- what generate wrote -------------------------------------------------------------------------


def nll_by_hand(model, prompt, ids):
    """-log p of each of the ids after the prompt's."""
    z = logits(model, torch.tensor([[*prompt, *ids]]))[0, len(prompt) - 1 : -1].log_softmax(-1)
    return -z[range(len(ids)), ids]


def test_what_was_generated_is_scored_by_the_tokens_that_were_written(tokenizer):
    """Decoding and encoding gives other tokens for most of what a model with random weights writes."""
    model = tiny_model("gpt2")
    prompts = PROMPTS * 3
    texts = generate(model, tokenizer, prompts, max_new_tokens=6, temperature=3.0)
    assert all(isinstance(text, str) for text in texts)
    others = sum(tokenizer(str(text))["input_ids"] != list(text.ids) for text in texts)
    assert others  # or else it shows nothing
    each = continuation_nll(model, tokenizer, prompts, texts, per_token=True)
    for prompt, text, values in zip(prompts, texts, each, strict=True):
        ids = list(text.ids)
        assert str(text) == tokenizer.decode(ids, skip_special_tokens=True)
        np.testing.assert_allclose(
            values, nll_by_hand(model, tokenizer(prompt)["input_ids"], ids), rtol=1e-3, atol=1e-3
        )
    means = continuation_nll(model, tokenizer, prompts, texts)
    np.testing.assert_allclose(means, [values.mean() for values in each], rtol=1e-6)
    kl = continuation_kl(steer(model, some_vector()), tokenizer, prompts, texts, per_token=True)
    assert [len(row) for row in kl] == [len(text.ids) for text in texts]


def test_greedy_text_is_what_the_model_finds_likeliest_at_each_token(tokenizer):
    model = tiny_model("llama")
    texts = generate(model, tokenizer, PROMPTS, max_new_tokens=5, temperature=0)
    each = continuation_nll(model, tokenizer, PROMPTS, texts, per_token=True)
    for prompt, text, values in zip(PROMPTS, texts, each, strict=True):
        ids = [*tokenizer(prompt)["input_ids"], *text.ids]
        z = logits(model, torch.tensor([ids]))[0, -len(text.ids) - 1 : -1]
        np.testing.assert_allclose(values, -z.log_softmax(-1).amax(-1), rtol=1e-3, atol=1e-3)


def test_the_text_is_a_str_that_goes_where_strings_go(tokenizer, tmp_path):
    (text,) = generate(tiny_model("gpt2"), tokenizer, "I am", max_new_tokens=3)
    assert json.loads(json.dumps([text])) == [text]
    assert text + "" == str(text) and hash(text) == hash(str(text)) and text in {str(text)}
    assert (copy.deepcopy(text), copy.copy(text)) == (text, text)
    assert list(copy.deepcopy(text).ids) == list(text.ids)


def test_a_text_that_was_cut_or_joined_is_a_plain_one(tokenizer):
    """Its ids are those of the whole text, and must not go on being used for a part of it."""
    model = tiny_model("gpt2")
    (text,) = generate(model, tokenizer, "I am", max_new_tokens=6, temperature=0)
    for other in (text[:3], text.strip(), text + "!", text.upper(), f"{text}"):
        found = continuation_nll(model, tokenizer, "I am", other)
        assert found == pytest.approx(continuation_nll(model, tokenizer, "I am", "".join([*other])), rel=1e-6)


def test_text_that_ended_itself(tokenizer):
    """The end token is one that the model wrote, and padding after it is not."""
    model = tiny_model("gpt2")
    likely = torch.zeros(50257)
    likely[50256] = 1e4
    with model.lm_head.register_forward_hook(lambda m, a, output: output + likely):
        texts = generate(model, tokenizer, PROMPTS[:2], max_new_tokens=5, temperature=0)
    assert texts == ["", ""]
    assert all(list(text.ids) in ([], [50256]) for text in texts)
    values = continuation_nll(model, tokenizer, PROMPTS[:2], texts)
    for prompt, text, value in zip(PROMPTS, texts, values, strict=False):
        wanted = nll_by_hand(model, tokenizer(prompt)["input_ids"], [*text.ids])
        np.testing.assert_allclose(value, wanted.mean() if len(text.ids) else np.nan, rtol=1e-4)


# --- as people type and set things ---------------------------------------------------------------


def test_word_lists_read_apostrophes_as_people_type_them():
    from steering_utils.pages.judges import sentiment

    straight, curly = sentiment(["It isn't good.", "It isn’t good."])
    assert straight == curly < 0
    assert sentiment("I don’t like it") == sentiment("I don't like it") != sentiment("I like it")


def test_a_padding_token_that_the_model_has_no_row_for(tokenizer):
    """The usual recipe for GPT-2: what is filled up is masked, so that any token would do for it."""
    model, padded = tiny_model("gpt2"), copy.deepcopy(tokenizer)
    padded.add_special_tokens({"pad_token": "[PAD]"})
    assert padded.pad_token_id == 50257
    for read in READS.values():
        assert same(read(model, padded, PROMPTS), read(model, tokenizer, PROMPTS))
    likely = torch.zeros(50257)
    likely[50256] = 20.0  # so that some rows end before others, and are filled up
    with model.lm_head.register_forward_hook(lambda m, a, output: output + likely):
        texts = generate(model, padded, PROMPTS, max_new_tokens=9, temperature=2.0)
        assert len({len(text.ids) for text in texts}) > 1
        assert texts == generate(model, tokenizer, PROMPTS, max_new_tokens=9, temperature=2.0)


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
def test_positions_and_layers_of_every_kind_of_list(tokenizer, kind):
    model = tiny_model("gpt2")
    wanted = capture(model, tokenizer, PROMPTS, layers=[2, 0], positions=[0, -1, 1, 2, 0])
    given = capture(model, tokenizer, PROMPTS, layers=kind([2, 0]), positions=kind([0, -1, 1, 2, 0]))
    assert given.layers == (2, 0) and torch.equal(given.values, wanted.values)


@pytest.mark.parametrize("kind", [int, np.int64, torch.tensor, np.array])
def test_one_position_and_one_layer_of_every_kind_of_number(tokenizer, kind):
    model = tiny_model("gpt2")
    wanted = capture(model, tokenizer, PROMPTS, layers=2, positions=0)
    given = capture(model, tokenizer, PROMPTS, layers=kind(2), positions=kind(0))
    assert given.layers == (2,) and torch.equal(given.values, wanted.values)


# --- what is refused -----------------------------------------------------------------------------

WRONG = {  # prompts: the error and a part of its message
    "None": (lambda t: None, TypeError, "prompts must be .*, got None"),
    "a number": (lambda t: 3, TypeError, "prompts must be .*, got 3"),
    "a bool": (lambda t: True, TypeError, "prompts must be .*, got True"),
    "bools": (lambda t: [True, False], TypeError, "token id must be an int, got True"),
    "a tensor of bools": (lambda t: torch.tensor([True, False]), TypeError, "must be an int, got True"),
    "a list of tensors of bools": (lambda t: [torch.tensor([True])], TypeError, "must be an int, got"),
    "an array of bools": (lambda t: np.array([[True]]), TypeError, "must be an int, got"),
    "bytes": (lambda t: b"I am", TypeError, "prompt.* must be "),
    "a list of bytes": (lambda t: [b"I am"], TypeError, "prompt 0 must be a string, got b'I am'"),
    "a tensor of floats": (lambda t: torch.tensor([1.0, 2.0]), TypeError, r"prompt 0.* got (\[)?1\.0"),
    "a list of floats": (lambda t: [[1.0, 2.0]], TypeError, r"must be an int, got 1\.0"),
    "what a tokenizer gives": (lambda t: t("I am"), TypeError, "prompts must be .*, got {'input_ids'"),
    "a dict": (lambda t: {"text": "I am"}, TypeError, "prompts must be .*, got {'text'"),
    "a list of dicts": (lambda t: [{"text": "I am"}], TypeError, "prompt 0 must be a string, got {'text'"),
    "messages": (
        lambda t: [{"role": "user", "content": "I am"}],
        TypeError,
        "prompt 0 must be a string, got {'role'",
    ),
    "several messages": (lambda t: [[{"role": "user", "content": "Hi"}]], TypeError, "must be an int, got {"),
    "lists of texts": (lambda t: [["I am", "She is"]], TypeError, "must be an int, got 'I am'"),
    "None among texts": (lambda t: ["I am", None], TypeError, "prompt 1 must be a string, got None"),
    "a number among texts": (lambda t: ["I am", 5], TypeError, "prompt 1 must be a string, got 5"),
    "nan among texts": (lambda t: ["I am", float("nan")], TypeError, "prompt 1 must be a string, got nan"),
    "too deep": (lambda t: [[[5, 6]]], TypeError, r"must be an int, got \[5, 6\]"),
    "a 3-D tensor": (lambda t: torch.ones(1, 1, 3).long(), TypeError, r"must be an int, got \[1, 1, 1\]"),
    "a 0-D tensor": (lambda t: torch.tensor(5), TypeError, "prompt.* must be .*got"),
    "nothing": (lambda t: [], ValueError, "no prompts: give at least one"),
    "no tokens": (lambda t: torch.tensor([]).long(), ValueError, "no prompts|is empty"),
    "an empty row": (lambda t: [[]], ValueError, r"prompt 0 is empty \(\[\]\)"),
    "an empty text": (lambda t: ["I am", ""], ValueError, r"prompt 1 is empty \(''\)"),
    "an id beyond the vocabulary": (lambda t: ["I am", [5, 50257]], ValueError, "50257"),
    "a negative id": (lambda t: [[5, -1]], ValueError, "-1"),
    "the id that losses ignore": (lambda t: torch.tensor([[5, -100]]), ValueError, "-100"),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("read", READS)
def test_wrong_kinds_are_refused_by_name(tokenizer, read, kind):
    model, (prompts, error, message) = tiny_model("gpt2"), WRONG[kind]
    runs = []
    with (
        model.register_forward_pre_hook(lambda m, args: runs.append(1)),
        pytest.raises(error, match=message),
    ):
        READS[read](model, tokenizer, prompts(tokenizer))
    assert not runs and hooks_on(model) == 0


@pytest.mark.parametrize("text", [None, ["a"], b"a", {"a": 1}, float("nan")])
def test_continuations_of_wrong_kinds_are_refused_by_name(tokenizer, text):
    model = tiny_model("gpt2")
    with pytest.raises(TypeError, match="continuation"):
        continuation_nll(model, tokenizer, ["I am"], [text])


@pytest.mark.parametrize("read", ["next_token_logits", "generate", "continuation_nll"])
def test_a_model_without_a_head_is_refused_by_name(tokenizer, read):
    with pytest.raises(TypeError, match="GPT2Model has no language-model head: load it with load_model"):
        READS[read](tiny_model("gpt2").transformer, tokenizer, "I am")


def test_a_continuation_beyond_the_vocabulary_is_refused(tokenizer):
    model = tiny_model("gpt2")
    assert continuation_nll(model, tokenizer, ["I am"], [[5, 6]]).shape == (1,)  # ids, as of a prompt
    for ids in ([50257], [-1]):
        with pytest.raises(ValueError, match=str(ids[0])):
            continuation_nll(model, tokenizer, ["I am"], [ids])


def test_a_tokenizer_with_more_tokens_than_the_model(tokenizer):
    """A token that was added and for which the model has no row: named, and no IndexError."""
    larger = copy.deepcopy(tokenizer)
    larger.add_tokens(["<|mine|>"])
    for read in READS.values():
        with pytest.raises(ValueError, match="50257"):
            read(tiny_model("gpt2"), larger, ["I am <|mine|>"])
