"""Measuring what steering did: tone, fluency, strength, and how sure one can be."""

import numpy as np
import scipy.stats
import torch
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from .tokens import check_prompts, encode, single_token_ids


@torch.no_grad()
def next_token_logits(model, tokenizer, prompts, batch_size=32):
    """The logits of the token after each prompt: (n_prompts, n_vocabulary), float32 on the CPU."""
    prompts, rows = check_prompts(prompts), []
    for start in range(0, len(prompts), batch_size):
        inputs = encode(tokenizer, prompts[start : start + batch_size], device=model.device)
        last = inputs["attention_mask"].sum(1) - 1  # padding is on the right
        logits = model(**inputs, use_cache=False).logits
        rows.append(logits[torch.arange(len(last)), last].float().cpu())
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
        ValueError: a word is more than one token, or stands on both sides.
    """
    both = set(positive_words) & set(negative_words)
    if both:
        raise ValueError(f"on both sides: {', '.join(sorted(both))}; a word can have one sign only")
    positive, negative = (single_token_ids(tokenizer, words) for words in (positive_words, negative_words))
    return logits[:, positive].logsumexp(1) - logits[:, negative].logsumexp(1)


def sentiment(texts) -> np.ndarray:
    """VADER's compound score of each text, from -1 (negative) to +1 (positive): (n_texts,).

    A word list with rules, made for short informal texts. It knows nothing of the model, and a text
    that only repeats words of its list can fool it.

    Source:
        Hutto & Gilbert, ICWSM 2014.
    """
    judge = SentimentIntensityAnalyzer()
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
    prompts, continuations = check_prompts(prompts), list(continuations)
    if len(prompts) != len(continuations):
        raise ValueError(f"{len(continuations)} continuations for {len(prompts)} prompts: give one each")
    result = []
    for start in range(0, len(prompts), batch_size):
        rows = slice(start, start + batch_size)
        result += _nll_of_batch(model, tokenizer, prompts[rows], continuations[rows])
    return np.array(result)


def _nll_of_batch(model, tokenizer, prompts, continuations) -> list[float]:
    heads = [tokenizer(text)["input_ids"] for text in prompts]
    tails = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in continuations]
    longest = max(len(h) + len(t) for h, t in zip(heads, tails, strict=True))
    ids, scored = torch.zeros(len(heads), longest, dtype=torch.long), torch.zeros(len(heads), longest)
    mask = torch.zeros_like(ids)
    for row, (head, tail) in enumerate(zip(heads, tails, strict=True)):
        n = len(head) + len(tail)
        ids[row, :n], mask[row, :n] = torch.tensor(head + tail), 1
        scored[row, len(head) : n] = 1
    logits = model(
        input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False
    ).logits
    nll = torch.nn.functional.cross_entropy(
        logits[:, :-1].float().transpose(1, 2), ids[:, 1:].to(logits.device), reduction="none"
    ).cpu()  # (n_prompts, longest - 1)
    scored = scored[:, 1:]
    return ((nll * scored).sum(1) / scored.sum(1)).tolist()


def relative_strength(vector, alpha, norms) -> float:
    """r = |alpha| * norm(v) / median norm(h) at the vector's layer: the push against what it pushes.

    Args:
        norms: (n_layers,), from `residual_norms`.
    """
    return abs(alpha) * vector.norm / float(norms[vector.layer])


def alpha_for(vector, strength, norms) -> float:
    """The alpha whose relative strength is `strength`, with its sign: the inverse of `relative_strength`."""
    if vector.norm == 0:
        raise ValueError("the vector is zero: it has no direction, so no alpha gives it a strength")
    return strength * float(norms[vector.layer]) / vector.norm


def bootstrap_interval(values, confidence=0.95, seed=0) -> tuple[float, float]:
    """An interval for the mean of `values`, by resampling them (percentile bootstrap, 10,000 times).

    Resample what was drawn independently: prompts, with the generations of one prompt averaged first.

    Raises:
        ValueError: fewer than two values, or a value that is not finite.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError("values must be two or more finite numbers, one per prompt")
    result = scipy.stats.bootstrap(
        (values,), np.mean, confidence_level=confidence, n_resamples=10_000, method="percentile", rng=seed
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
