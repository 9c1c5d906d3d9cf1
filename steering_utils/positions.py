"""Where steering acts: which columns of a batch, across padding and the key-value cache.

| word | the vector acts |
|---|---|
| "all" | at every position, of the prompt and of what is generated |
| "prompt" | at the prompt's positions |
| "new" | at generated tokens; all that is not generated is prompt |
| "last" | at the prompt's last token only |
| "from_last" | from the prompt's last token on, so that the first new token is steered too |
| "after_first" | everywhere but at the first token, whose state is an outlier in many models |
| "front" | at the front of the prompt, vector i at token i: activation addition as published |

The prompt is what `generate` was given (ours or the model's own), and in `continuation_nll` and
`continuation_kl` the prompts. In a loop of one's own it is the first pass, and what follows it with its cache
is generated; without a cache, each pass must be the last one and a single token, with `use_cache=False`.
Enter `steer` once, around the whole loop: what was before is not known.

Beside the words, a mask: a boolean tensor (n_prompts, n_columns) over the columns of the batch as the model
gets it, padding included; columns after its end are left alone.

What others call the site `resid_pre` of block k is the stream before that block: our layer k - 1, the output
of block k - 1. `resid_post` of block k is our layer k.

Source:
    "front" with one vector a position: Turner et al., arXiv 2308.10248; "from_last": Rimsky et al.,
    arXiv 2312.06681, who add after the user's prompt.
"""

import contextlib

import torch

WORDS = ("all", "prompt", "new", "last", "from_last", "after_first", "front")


def check_positions(positions):
    """A word of WORDS, or a mask (n_prompts, n_columns) on the CPU; else a ValueError."""
    if isinstance(positions, str) and positions in WORDS:
        return positions
    with contextlib.suppress(TypeError, ValueError, RuntimeError):  # it is nothing that a tensor can hold
        mask = torch.as_tensor(positions, device="cpu")
        if mask.dtype == torch.bool and mask.ndim == 2:
            return mask
    words = ", ".join(WORDS)
    raise ValueError(f"positions must be {words} or a boolean mask (n_prompts, n_columns): {positions!r}")


def columns_of(word, columns, real, end, n_front=1):
    """Which of the columns a word means.

    Args:
        columns: their numbers, (n_columns,), counted from the first one of the padded prompt.
        real: the prompt's attention mask, (n_prompts, end).
        end: the column after the prompt's last; or one for each prompt, (n_prompts, 1).
        n_front: the number of vectors at the front.

    Returns:
        Boolean, (1 or n_prompts, n_columns); for "front" (n_front, n_prompts, n_columns).

    Raises:
        ValueError: for "front", a prompt with fewer tokens than there are vectors.

    Example:
        >>> columns_of("last", torch.arange(4), torch.tensor([[1, 1, 0], [0, 1, 1]]), end=3).int()
        tensor([[0, 1, 0, 0],
                [0, 0, 1, 0]], dtype=torch.int32)
    """
    columns, real = columns[None], real.bool().int()
    first = real.argmax(1, keepdim=True)
    last = (real * torch.arange(real.shape[1])).argmax(1, keepdim=True)
    if word == "front":
        if (short := int((last - first).min()) + 1) < n_front:
            raise ValueError(f"{n_front} vectors need as many tokens, a prompt has {short}: use a longer one")
        return torch.stack([columns == first + i for i in range(n_front)])
    return {
        "all": columns >= 0,
        "prompt": columns < end,
        "new": columns >= end,
        "last": columns == last,
        "from_last": columns >= last,
        "after_first": columns > first,
    }[word]
