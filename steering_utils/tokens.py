"""Text to tokens and back: prompts of any kind, padded batches, a pair's lengths, a word's id."""

from collections.abc import Iterable, Mapping

import torch

from .blocks import as_int


def encode(tokenizer, prompts, padding_side="right", device="cpu"):
    """Prompts as one padded batch, whatever the tokenizer's own padding settings are.

    Args:
        prompts: one prompt or several. A prompt is a string or its token ids, a list of ints or a tensor
            (n_tokens,).

    Returns:
        A dict of `input_ids` and `attention_mask`, each (n_prompts, n_tokens).

    Raises:
        TypeError: a prompt is neither text nor token ids.
        ValueError: no prompts, or one without a token.
    """
    return pad(tokenizer, token_ids(tokenizer, check_prompts(prompts)), padding_side, device)


def token_ids(tokenizer, prompts, **options) -> list[list[int]]:
    """The token ids of each prompt, a text or ids already.

    A text that begins with the start token, as a chat template writes it, is not given a second one.
    """
    start, none = tokenizer.bos_token, {"add_special_tokens": False}
    return [
        tokenizer(prompt, **options | (none if start and prompt.startswith(start) else {}))["input_ids"]
        if isinstance(prompt, str)
        else prompt
        for prompt in prompts
    ]


def pad_id(tokenizer) -> int:
    """The id that fills a row up: the padding token's, else the end token's."""
    own = tokenizer.pad_token_id  # one that was added is not known to the model
    return own if own is not None and own < tokenizer.vocab_size else tokenizer.eos_token_id or 0


def pad(tokenizer, ids, padding_side="right", device="cpu"):
    """Rows of token ids as one batch; returns as `encode` does."""
    if not all(ids):
        raise ValueError(f"the tokenizer leaves nothing of prompt {[*map(bool, ids)].index(False)}")
    shape = (len(ids), max(map(len, ids)))
    input_ids, mask = torch.full(shape, pad_id(tokenizer)), torch.zeros(shape, dtype=torch.long)
    for row, tokens in enumerate(ids):
        real = slice(0, len(tokens)) if padding_side == "right" else slice(shape[1] - len(tokens), None)
        input_ids[row, real], mask[row, real] = torch.tensor(tokens), 1
    return {"input_ids": input_ids.to(device), "attention_mask": mask.to(device)}


def check_prompts(prompts, name="prompt", *, ids=True, empty=False) -> list:
    """`prompts` as a list of strings or, with `ids`, lists of token ids; raises as `encode` does.

    Args:
        empty: whether a prompt may be empty.
    """
    prompts = prompts.tolist() if hasattr(prompts, "tolist") else prompts  # of PyTorch or NumPy
    if isinstance(prompts, Mapping | bytes) or not isinstance(prompts, Iterable):
        remedy = ": give its 'input_ids'" if isinstance(prompts, Mapping) and "input_ids" in prompts else ""
        raise TypeError(f"{name}s must be strings{' or token ids' * ids}, got {prompts!r}{remedy}")
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    prompts = [prompt.tolist() if hasattr(prompt, "tolist") else prompt for prompt in prompts]
    if ids and prompts and all(isinstance(prompt, int) for prompt in prompts):
        prompts = [prompts]  # the token ids of one prompt
    if not prompts:
        raise ValueError(f"no {name}s: give at least one string")
    for i, prompt in enumerate(prompts):
        if ids and isinstance(prompt, list | tuple):
            prompts[i] = [as_int(token, f"{name} {i}: a token id") for token in prompt]
        elif not isinstance(prompt, str):
            raise TypeError(f"{name} {i} must be a string, got {prompt!r}")
        if not prompts[i] and not empty:
            raise ValueError(f"{name} {i} is empty ({prompt!r}): every {name} needs some text")
    return prompts


def token_texts(tokenizer, ids) -> list[str]:
    """What each token reads as by itself, spaces kept.

    A token that is a piece of a character reads as the vocabulary's own name for it in ⟨…⟩, so that two
    such pieces are told apart.
    """
    names = tokenizer.convert_ids_to_tokens(list(ids))
    return [_token_text(tokenizer.decode([i]), name or f"{i}") for i, name in zip(ids, names, strict=True)]


def _token_text(text, name):
    if "\ufffd" in text or not (text or name.startswith("▁")):
        return f"⟨{name}⟩"
    # SentencePiece marks a space before a word as ▁ and decodes a first token without it
    return f" {text}" if name.startswith("▁") and not text.startswith(" ") else text


def token_positions(tokenizer, prompts, text) -> list[int]:
    """Where `text`, as one token, stands in each prompt: the number of its last occurrence, counted from 0.

    What `capture` takes as `positions`, to read each prompt at a word of its own place.

    Raises:
        ValueError: a prompt has no token that reads so; the message shows its tokens.

    Example:
        >>> token_positions(tokenizer, ["It was good.", "It was not very good."], " good")
        [2, 4]
    """
    numbers = []
    for prompt, ids in zip(prompts, token_ids(tokenizer, check_prompts(prompts)), strict=True):
        texts = token_texts(tokenizer, ids)
        if text not in texts:
            raise ValueError(f"no token of {prompt!r} reads {text!r}: its tokens are {texts}")
        numbers.append(len(texts) - 1 - texts[::-1].index(text))
    return numbers


def single_token_ids(tokenizer, words) -> list[int]:
    """The token id of each word as it stands after a space, which is how it can come next in a text.

    Raises:
        TypeError: a word is not a string.
        ValueError: no words, an empty one, or some that are more than one token; the message lists them.
    """
    words, ids = check_prompts(words, "word", ids=False), []
    for word in words:
        both = token_ids(tokenizer, [f" {word}", word], add_special_tokens=False)
        if tokenizer.convert_ids_to_tokens(both[1])[0].startswith("▁"):  # SentencePiece puts the space itself
            both.reverse()
        ids.append(both[0])
    if split := [word for word, tokens in zip(words, ids, strict=True) if len(tokens) != 1]:
        raise ValueError(f"not a single token after a space: {', '.join(split)}; choose words that are")
    return [token for (token,) in ids]
