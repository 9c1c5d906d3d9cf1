"""Text to tokens: one padded batch, the check of a pair's lengths, the id of a word."""

from collections.abc import Iterable

import torch

from .blocks import as_int


def encode(tokenizer, prompts, padding_side="right", device="cpu"):
    """Prompts as one padded batch, whatever the tokenizer's own padding settings are.

    Returns:
        A dict of `input_ids` and `attention_mask`, each (n_prompts, n_tokens).

    Raises:
        TypeError: a prompt is not a string.
        ValueError: no prompts, or an empty one.
    """
    return pad(tokenizer, token_ids(tokenizer, check_prompts(prompts)), padding_side, device)


def token_ids(tokenizer, texts, **options) -> list[list[int]]:
    """The token ids of each text; a hundred at a time, since a tokenizer keeps much more for each."""
    options = {"return_attention_mask": False} | options
    return [ids for some in batches(texts, 100) for ids in tokenizer(list(some), **options)["input_ids"]]


def pad_id(tokenizer) -> int:
    """The id that fills a row up: the padding token's, else the end token's."""
    return tokenizer.eos_token_id or 0 if tokenizer.pad_token_id is None else tokenizer.pad_token_id


def pad(tokenizer, ids, padding_side="right", device="cpu"):
    """Rows of token ids as one batch; returns as `encode` does."""
    if not all(ids):
        raise ValueError("the tokenizer leaves nothing of a prompt: look for one of unusual characters only")
    shape = (len(ids), max(map(len, ids)))
    input_ids, mask = torch.full(shape, pad_id(tokenizer)), torch.zeros(shape, dtype=torch.long)
    for row, tokens in enumerate(ids):
        real = slice(0, len(tokens)) if padding_side == "right" else slice(shape[1] - len(tokens), None)
        input_ids[row, real], mask[row, real] = torch.tensor(tokens), 1
    return {"input_ids": input_ids.to(device), "attention_mask": mask.to(device)}


def check_prompts(prompts, name="prompt") -> list[str]:
    """`prompts` as a list of strings, none of them empty; raises as `encode` does."""
    several = isinstance(prompts, Iterable) and not isinstance(prompts, str)
    prompts = list(prompts) if several else [prompts]
    if not prompts:
        raise ValueError(f"no {name}s: give at least one string")
    for i, prompt in enumerate(prompts):
        if not isinstance(prompt, str):
            raise TypeError(f"{name} {i} must be a string, got {prompt!r}")
        if not prompt.strip():
            raise ValueError(f"{name} {i} is empty ({prompt!r}): every {name} needs some text")
    return prompts


def batches(items, size) -> list:
    """`items` in slices of at most `size`."""
    if as_int(size, "batch_size") < 1:
        raise ValueError(f"batch_size must be 1 or more, got {size}")
    return [items[start : start + size] for start in range(0, len(items), size)]


def token_table(tokenizer, pairs) -> list[dict]:
    """How each (positive, negative) pair splits into tokens: the check before activations are compared.

    Returns:
        One row a pair: `positive`, `negative` (token strings), `lengths` (two ints) and `same_length`.

    Raises:
        TypeError: a member of a pair is not a string.
        ValueError: no pairs, an entry that is no pair, or an empty string.
    """
    pairs, rows = list(pairs), []
    if not pairs:
        raise ValueError("no pairs: give at least one (positive, negative) pair of prompts")
    for i, pair in enumerate(pairs):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError(f"pair {i} must be (positive, negative), got {pair!r}")
        positive, negative = token_ids(tokenizer, check_prompts(pair, f"pair {i}, prompt"))
        rows.append(
            {
                "positive": [tokenizer.decode([token]) for token in positive],
                "negative": [tokenizer.decode([token]) for token in negative],
                "lengths": (len(positive), len(negative)),
                "same_length": len(positive) == len(negative),
            }
        )
    return rows


def single_token_ids(tokenizer, words) -> list[int]:
    """The token id of each word as it stands after a space, which is how it can come next in a text.

    Raises:
        TypeError: a word is not a string.
        ValueError: no words, an empty one, or some that are more than one token; the message lists them.
    """
    words = check_prompts(words, "word")
    ids = token_ids(tokenizer, [" " + word for word in words], add_special_tokens=False)
    split = [word for word, tokens in zip(words, ids, strict=True) if len(tokens) != 1]
    if split:
        raise ValueError(f"not a single token for this tokenizer: {', '.join(split)}; choose other words")
    return [token for (token,) in ids]
