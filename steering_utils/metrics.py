"""Measuring what steering did: tone, fluency, strength, and how sure one can be."""

from collections import Counter

import numpy as np
import torch
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from .tokens import batches, check_prompts, encode, pad, single_token_ids, token_ids


@torch.no_grad()
def next_token_logits(model, tokenizer, prompts, batch_size=32):
    """The logits of the token after each prompt: (n_prompts, n_vocabulary), float32 on the CPU."""
    rows = []
    for batch in batches(check_prompts(prompts), batch_size):
        inputs = encode(tokenizer, batch, device=model.device)
        last = inputs["attention_mask"].sum(1) - 1  # padding is on the right
        rows.append(model(**inputs).logits[range(len(batch)), last].float().cpu())
    return torch.cat(rows)


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
        ValueError: no words, one that is more than one token, or one that is there twice.
    """
    groups = [check_prompts(words, "word") for words in (positive_words, negative_words)]
    counts = Counter(word for words in groups for word in words)
    if twice := [word for word, n in counts.items() if n > 1]:
        raise ValueError(f"more than once: {', '.join(twice)}; give each word once, on one side")
    positive, negative = (logits[:, single_token_ids(tokenizer, words)].logsumexp(1) for words in groups)
    return positive - negative


def sentiment(texts) -> np.ndarray:
    """VADER's compound score of each text, from -1 (negative) to +1 (positive): (n_texts,).

    A word list with rules, made for short informal texts. It knows nothing of the model, and a text
    that only repeats words of its list can fool it.

    Source:
        Hutto & Gilbert, ICWSM 2014.
    """
    judge = SentimentIntensityAnalyzer()
    texts = [texts] if isinstance(texts, str) else texts
    return np.array([judge.polarity_scores(text)["compound"] for text in texts])


@torch.no_grad()
def continuation_nll(model, tokenizer, prompts, continuations, batch_size=16) -> np.ndarray:
    """How surprising each continuation is to the model: mean negative log-likelihood, nats per token.

    Call it with no steering on, for text that was written under steering: it then measures what the
    steering cost in fluency. Prompt and continuation are tokenized apart, as generation saw them.

    Returns:
        (n_prompts,); NaN where a continuation is empty.

    Raises:
        ValueError: not one continuation per prompt.
    """
    prompts = check_prompts(prompts)
    continuations = [continuations] if isinstance(continuations, str) else list(continuations)
    if len(prompts) != len(continuations):
        raise ValueError(f"{len(continuations)} continuations for {len(prompts)} prompts: give one each")
    heads = token_ids(tokenizer, prompts)
    tails = token_ids(tokenizer, continuations, add_special_tokens=False)
    result = []
    for batch in batches(list(zip(heads, tails, strict=True)), batch_size):
        inputs = pad(tokenizer, [head + tail for head, tail in batch], device=model.device)
        logits = (
            model(**inputs).logits[:, :-1].float().transpose(1, 2)
        )  # what each token but the last predicts
        nll = torch.nn.functional.cross_entropy(logits, inputs["input_ids"][:, 1:], reduction="none")
        for row, (head, tail) in zip(nll, batch, strict=True):
            result.append(float(row[len(head) - 1 : len(head) + len(tail) - 1].mean()))
    return np.array(result)


def relative_strength(vector, alpha, norms) -> float:
    """r = |alpha| * norm(v) / median norm(h) at the vector's layer: the push against what it pushes.

    Args:
        norms: (n_layers,), from `residual_norms`.
    """
    return abs(alpha) * vector.norm / float(norms[vector.layer])


def alpha_for(vector, strength, norms) -> float:
    """The alpha whose relative strength is `strength`, with its sign: the inverse of `relative_strength`.

    Raises:
        ValueError: the vector is zero.
    """
    if vector.norm == 0:
        raise ValueError(f"{vector!r} is zero: it has no direction, so no alpha gives it a strength")
    return strength * float(norms[vector.layer]) / vector.norm


def bootstrap_interval(values, confidence=0.95, seed=0) -> tuple[float, float]:
    """An interval for the mean of `values`, by resampling them (percentile bootstrap, 10,000 times).

    Resample what was drawn independently: prompts, with the generations of one prompt averaged first.

    Raises:
        ValueError: fewer than two values, a value that is not finite, or a confidence outside 0 to 1.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"values must be two or more finite numbers, one per prompt; got {values}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, such as 0.95; got {confidence!r}")
    means = np.random.default_rng(seed).choice(values, (10_000, len(values))).mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
