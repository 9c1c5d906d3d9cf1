"""Text to tokens: one padded batch, the check of a pair's lengths, the id of a word."""

import torch


def encode(tokenizer, prompts, padding_side="right", device="cpu"):
    """Prompts as one padded batch, whatever the tokenizer's own padding settings are.

    Args:
        prompts: one string or a sequence of strings.

    Returns:
        A dict of `input_ids` and `attention_mask`, each (n_prompts, n_tokens).

    Raises:
        TypeError: a prompt is not a string.
        ValueError: no prompts, or a prompt with no token in it.
    """
    prompts = check_prompts(prompts)
    ids = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    shape = (len(ids), max(map(len, ids)))
    input_ids, mask = torch.full(shape, pad or 0), torch.zeros(shape, dtype=torch.long)
    for row, tokens in enumerate(ids):
        real = slice(0, len(tokens)) if padding_side == "right" else slice(shape[1] - len(tokens), None)
        input_ids[row, real], mask[row, real] = torch.tensor(tokens), 1
    return {"input_ids": input_ids.to(device), "attention_mask": mask.to(device)}


def check_prompts(prompts) -> list[str]:
    """`prompts` as a list of strings, none of them empty; raises as `encode` does."""
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not prompts:
        raise ValueError("no prompts: give at least one string")
    for i, prompt in enumerate(prompts):
        if not isinstance(prompt, str):
            raise TypeError(f"prompt {i} must be a string, got {prompt!r}")
        if not prompt.strip():
            raise ValueError(f"prompt {i} is empty ({prompt!r}): every prompt needs some text")
    return prompts


def token_table(tokenizer, pairs) -> list[dict]:
    """How each contrastive pair splits into tokens: the check before any activation is compared.

    Args:
        pairs: (positive, negative) prompts, as in `SENTIMENT_PAIRS`.

    Returns:
        One row a pair: `positive` and `negative` (lists of token strings), `lengths` (two ints), and
        `same_length`.
    """
    rows = []
    for positive, negative in check_pairs(pairs):
        ids = [tokenizer(text)["input_ids"] for text in (positive, negative)]
        rows.append(
            {
                "positive": [tokenizer.decode([i]) for i in ids[0]],
                "negative": [tokenizer.decode([i]) for i in ids[1]],
                "lengths": (len(ids[0]), len(ids[1])),
                "same_length": len(ids[0]) == len(ids[1]),
            }
        )
    return rows


def check_pairs(pairs) -> list[tuple[str, str]]:
    """`pairs` as a list of (positive, negative) strings.

    Raises:
        TypeError: a member is not a string.
        ValueError: no pairs, an entry that is no pair, or an empty string.
    """
    pairs = list(pairs)
    if not pairs:
        raise ValueError("no pairs: give at least one (positive, negative) pair of prompts")
    for i, pair in enumerate(pairs):
        if isinstance(pair, str) or len(pair) != 2:
            raise ValueError(f"pair {i} must be (positive, negative), got {pair!r}")
        check_prompts(pair)
    return [tuple(pair) for pair in pairs]


def single_token_ids(tokenizer, words) -> list[int]:
    """The token id of each word as it stands after a space, which is how it can come next in a text.

    Raises:
        ValueError: a word is more than one token for this tokenizer; the message lists them all.
    """
    ids = [tokenizer(" " + word, add_special_tokens=False)["input_ids"] for word in check_prompts(words)]
    split = [word for word, tokens in zip(words, ids, strict=True) if len(tokens) != 1]
    if split:
        raise ValueError(f"not a single token for this tokenizer: {', '.join(split)}; choose other words")
    return [tokens[0] for tokens in ids]
