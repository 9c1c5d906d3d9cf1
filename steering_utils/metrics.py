"""Measuring what steering did: tone, fluency, strength, and how sure one can be."""

from collections import Counter

import numpy as np
import scipy.stats
import torch
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from .blocks import as_int
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


def steerability(strengths, m) -> np.ndarray:
    """How strongly each prompt follows the vector: the least-squares slope of m against the strength.

    slope = sum_r (r - mean r)(m(r) - mean m) / sum_r (r - mean r)^2, in nats per unit of strength. A prompt
    with a slope below 0 goes the wrong way; `np.mean(slopes < 0)` is the anti-steerable share.

    Args:
        strengths: (n_strengths,), with their signs.
        m: the logit differences, (n_strengths, n_prompts).

    Returns:
        (n_prompts,).

    Raises:
        ValueError: fewer than two different strengths, or not one row of m for each.

    Source:
        Tan et al., arXiv 2407.12404.

    Example:
        >>> steerability([-1, 0, 1], [[-2.0, 1.0], [0.0, 0.0], [2.0, -1.0]]).tolist()
        [2.0, -1.0]
    """
    strengths, m = np.asarray(strengths, dtype=float), np.asarray(m, dtype=float)
    if strengths.ndim != 1 or len(set(strengths)) < 2 or m.ndim != 2 or len(m) != len(strengths):
        raise ValueError(
            f"got strengths {strengths.shape} and m {m.shape}: give two or more different strengths, "
            "and m as (n_strengths, n_prompts)"
        )
    centred = strengths - strengths.mean()
    return centred @ (m - m.mean(axis=0)) / (centred @ centred)


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
        raise ValueError(
            f"got {tuple(plain_logits.shape)} and {tuple(logits.shape)}: give both of the same prompts, "
            "(n_prompts, n_vocabulary)"
        )
    p0, p = (x.double().log_softmax(dim=1) for x in (plain_logits, logits))
    return torch.nn.functional.kl_div(p, p0, reduction="none", log_target=True).sum(dim=1).cpu().numpy()


def off_target_ratio(off_target, on_target) -> float:
    """How much a vector does that it was not meant to: mean |off-target effect| / mean |effect|.

    0 for a vector that moves only its own concept, 1 for one that moves an unrelated one as much.

    Args:
        off_target: the change of an unrelated contrast's logit difference, (n_prompts,), in nats.
        on_target: that of the vector's own concept at the same strength, on prompts of its own.

    Raises:
        ValueError: no values, or the vector has no effect on its own concept.

    Example:
        >>> off_target_ratio([0.5, -0.5], [2.0, 2.0])
        0.25
    """
    off_target, on_target = np.abs(off_target), np.abs(on_target)
    if not off_target.size or not on_target.size or not on_target.any():
        raise ValueError("give the effects on some prompts each, and a vector with an effect on its concept")
    return float(off_target.mean() / on_target.mean())


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


def distinct_ngrams(texts, n=2) -> np.ndarray:
    """How varied each text is: different n-grams of words / all its n-grams, 1 if none comes twice.

    For n = 1 and 2 it is distinct-1 and distinct-2; 1 minus it, for n = 4, is the share of repeated 4-grams.
    Words are what spaces divide, in lower case. Longer texts repeat more, so compare equal lengths.

    Returns:
        (n_texts,); NaN where a text has fewer than n words.

    Raises:
        ValueError: n below 1.

    Source:
        Li et al., arXiv 1510.03055; repeated 4-grams: Welleck et al., arXiv 1908.04319. Both count over
        all texts or over one long text; here each text has its own, to be averaged over prompts.

    Example:
        >>> distinct_ngrams(["so good so good"], n=2).round(2).tolist()  # so good, good so, so good
        [0.67]
    """
    if as_int(n, "n") < 1:
        raise ValueError(f"n must be 1 or more, got {n}")
    shares = []
    for words in (text.lower().split() for text in ([texts] if isinstance(texts, str) else texts)):
        grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
        shares.append(len(set(grams)) / len(grams) if grams else np.nan)
    return np.array(shares)


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
    """An interval for the mean of `values`, by resampling them 10,000 times (percentile bootstrap).

    Resample what was drawn independently: prompts, with the generations of one prompt averaged first; for
    random directions, the directions. It is `scipy.stats.bootstrap` with this book's settings.

    Source:
        Efron, The Annals of Statistics 7(1), 1979.

    Raises:
        ValueError: fewer than two values, a value that is not finite, or a confidence outside 0 to 1.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"values must be two or more finite numbers, one per prompt; got {values}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, such as 0.95; got {confidence!r}")
    found = scipy.stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=10_000,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return tuple(map(float, found.confidence_interval))
