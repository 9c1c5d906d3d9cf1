"""Measuring what steering did: at the next token, and along a text."""

from collections import Counter

import numpy as np
import torch

from .blocks import unwrapped
from .passes import final_states, head, reading
from .steering import steer
from .tokens import check_prompts, single_token_ids, token_ids


def next_token_logits(model, tokenizer, prompts, *, read=None):
    """The logits of the token after each prompt: (n_prompts, n_vocabulary), float32 on the CPU.

    The head runs at one position a prompt. Where a prompt stands there several times, each row with an alpha
    of its own, the part below the lowest steered layer runs once for it: a sweep is one call.

    Args:
        prompts: one prompt or several; a prompt is a string or a list of token ids.
        read: a function of logits (n, n_vocabulary), to keep what it makes of them and not the logits, which
            for thousands of rows would not fit into memory.

    Raises:
        TypeError, ValueError: as `capture` does.
        FloatingPointError: the logits are not finite.

    Example:
        >>> next_token_logits(model, tokenizer, ["I am", "You are"]).shape
        torch.Size([2, 50257])
    """
    model, ids = unwrapped(model), token_ids(tokenizer, check_prompts(prompts))
    with reading(model):
        final = final_states(model, tokenizer, ids, [[len(row) - 1] for row in ids])
        return head(model, *final, lambda logits, here: (read(logits) if read else logits).cpu())


def logit_difference(logits, tokenizer, positive_words, negative_words):
    """How much more the model leans to positive words than to negative ones at the next token.

    m = logsumexp(z over positive words) - logsumexp(z over negative words), in nats: the log of the
    ratio of the two groups' probabilities.

    Args:
        logits: (n_prompts, n_vocabulary).
        positive_words, negative_words: single-token words, without their leading space.

    Returns:
        Tensor (n_prompts,).

    Raises:
        TypeError: a word is not a string.
        ValueError: logits of another shape, no words, one that is more than one token or there twice.
    """
    if logits.ndim != 2:
        raise ValueError(f"logits must be (n_prompts, n_vocabulary), got {tuple(logits.shape)}")
    groups = [check_prompts(words, "word", ids=False) for words in (positive_words, negative_words)]
    counts = Counter(word for words in groups for word in words)
    if twice := [word for word, n in counts.items() if n > 1]:
        raise ValueError(f"more than once: {', '.join(twice)}; give each word once, on one side")
    positive, negative = (logits[:, single_token_ids(tokenizer, w)].float().logsumexp(1) for w in groups)
    return positive - negative


def next_token_kl(plain_logits, logits) -> np.ndarray:
    """How far steering moved the next token's distribution: KL(p0 || p) for each prompt, in nats.

    KL = sum over the vocabulary of p0 (log p0 - log p), with p0 unsteered: 0 if nothing changed. It says how
    much changed and not what, so that it is no measure of steering.

    Args:
        plain_logits, logits: (n_prompts, n_vocabulary), unsteered and steered.

    Returns:
        (n_prompts,).

    Raises:
        ValueError: the shapes differ.

    Source:
        Kullback & Leibler, 1951.
    """
    if plain_logits.ndim != 2 or plain_logits.shape != logits.shape:
        shapes = tuple(plain_logits.shape), tuple(logits.shape)
        raise ValueError(f"got logits {shapes[0]} and {shapes[1]}: give those of the same prompts")
    p0, p = (x.double().log_softmax(dim=1) for x in (plain_logits, logits))
    return torch.nn.functional.kl_div(p, p0, reduction="none", log_target=True).sum(dim=1).cpu().numpy()


def continuation_nll(model, tokenizer, prompts, continuations, *, per_token=False):
    """How surprising each continuation is to the model: negative log-likelihood, in nats per token.

    Call it with no steering on, for text that was written under steering: it then measures what the
    steering cost in fluency. What `generate` wrote is scored by the tokens that it wrote; other text is
    tokenized apart from its prompt, and so begins with its own space where there is one.

    Args:
        per_token: give the values of each token, not their mean.

    Returns:
        The means, (n_prompts,), NaN where a continuation is empty; or a list of arrays (n_tokens,).

    Raises:
        ValueError: not one continuation per prompt.
    """
    model = unwrapped(model)
    with reading(model):
        final, targets, lengths = _along(model, tokenizer, prompts, continuations)

        def read(logits, here):
            wanted = targets[here].to(logits.device)
            return torch.nn.functional.cross_entropy(logits, wanted, reduction="none").cpu()

        return _by_text(head(model, *final, read), lengths, per_token)


def continuation_kl(steering, tokenizer, prompts, continuations, *, plain_prompts=None, per_token=False):
    """How far steering moved the model along each text: KL(steered || unsteered), in nats per token.

    KL = sum over the vocabulary of p (log p - log p0), with p steered, at each token of the continuation.
    Along text that was written under the same steering it is the cost. The extra negative log-likelihood is
    it plus the change of entropy, and a text that lost entropy can hide it.

    Args:
        steering: a `steer(...)`, not entered; with one alpha per row, the rows are these prompts.
        plain_prompts: what the unsteered model reads in their place: the same without an instruction, say.
            At an alpha of 0 the KL is then the price of that instruction.
        per_token: give the values of each token, not their mean.

    Returns:
        As `continuation_nll` does.

    Raises:
        TypeError: not a `steer(...)`, or one that is entered.
        ValueError: not one continuation per prompt.

    Source:
        Kullback & Leibler, 1951.

    Example:
        >>> steering = steer(model, SteeringVector(torch.ones(32), layer=1), alpha=2.0)
        >>> continuation_kl(steering, tokenizer, ["I am"], [" here"]).shape
        (1,)
    """
    if not isinstance(steering, steer) or steering.contexts:
        got = steering if isinstance(steering, steer) else type(steering).__name__
        raise TypeError(f"steering must be a steer(model, vector, alpha) that is not entered, got {got}")
    model = unwrapped(steering.model)
    with reading(model):
        before = prompts if plain_prompts is None else plain_prompts
        plain, _, lengths = _along(model, tokenizer, before, continuations)
        with steering:
            steered, _, _ = _along(model, tokenizer, prompts, continuations)

        def read(logits, here):
            p = logits.log_softmax(1)
            base = head(model, plain[0][here], plain[1], lambda z, _: z.log_softmax(1))
            return torch.nn.functional.kl_div(base, p, reduction="none", log_target=True).sum(1).cpu()

        return _by_text(head(model, *steered, read), lengths, per_token)


def _along(model, tokenizer, prompts, continuations):
    """The final states that predict the continuations' tokens, those tokens, and how many each text has."""
    prompts = check_prompts(prompts)
    continuations = [continuations] if isinstance(continuations, str) else continuations
    continuations = [getattr(text, "ids", text) for text in continuations]  # of what generate wrote
    continuations = check_prompts(continuations, "continuation", empty=True) if continuations else []
    if len(prompts) != len(continuations):
        raise ValueError(f"{len(continuations)} continuations for {len(prompts)} prompts: give one each")
    given = token_ids(tokenizer, prompts)
    added = token_ids(tokenizer, continuations, add_special_tokens=False)
    columns = [range(len(a) - 1, len(a) + len(b) - 1) for a, b in zip(given, added, strict=True)]
    rows = [a + b for a, b in zip(given, added, strict=True)]
    targets = torch.tensor([token for row in added for token in row], dtype=torch.long)
    final = final_states(model, tokenizer, rows, [*map(list, columns)], [*map(len, given)])
    return final, targets, [*map(len, added)]


def _by_text(values, lengths, per_token):
    """The values of all tokens, (n,), text by text: as a list, or as their means."""
    texts = [part.double().numpy() for part in values.split(lengths)]
    return texts if per_token else np.array([part.mean() if len(part) else np.nan for part in texts])
