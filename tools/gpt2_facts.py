"""What has been published about GPT-2 small, and what the model that is loaded gives: a table.

No number in FACTS was measured for this book. Where its source rounds, `within` allows for that; where its
source used other texts, for the difference that texts make.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from steering_utils import capture, load_model, mean_difference, next_token_logits
from steering_utils.pages.texts import NEUTRAL_TEXTS, SENTIMENT_PAIRS

CITIES = [" Paris", " London", " Amsterdam", " New", " Berlin"]
ONE = "The Eiffel Tower is located in the city of"
TWO = "The Eiffel Tower and croissants are located in the city of"
THREE = "The Eiffel Tower and croissants and louis vuitton are located in the city of"


@dataclass(frozen=True)
class Fact:
    """A published number, or several, and how to find it.

    Attributes:
        name: what the number is.
        published: one number or a list.
        within: how far from it a found one may be; 0 for what is counted or named.
        found: a function of model and tokenizer that gives as many numbers.
    """

    name: str
    published: float | list
    within: float
    found: Callable

    def holds(self, found) -> bool:
        return bool(np.all(np.abs(np.subtract(found, self.published)) <= self.within))


def token_counts(model, tokenizer):
    return [len(tokenizer(text)["input_ids"]) for pair in SENTIMENT_PAIRS for text in pair]


def loss(model, tokenizer):
    ids = torch.tensor([tokenizer("<|endoftext|>Hello world!")["input_ids"]], device=model.device)
    with torch.no_grad():
        return model(ids, labels=ids).loss.item()


def first_position(model, tokenizer):
    """The first position's state after each block, (n_layers, d_model)."""
    return capture(model, tokenizer, NEUTRAL_TEXTS[0], positions=0).values[0]


def largest(model, tokenizer):
    return first_position(model, tokenizer).abs().amax(dim=-1).tolist()


def largest_dimension(model, tokenizer):
    return first_position(model, tokenizer).abs().argmax(dim=-1)[2:11].tolist()


def mean_norm(model, tokenizer):
    texts = capture(model, tokenizer, NEUTRAL_TEXTS, layers=6, positions="all")
    return torch.cat([h[1:].at(6) for h in texts]).norm(dim=1).mean().item()


def notebook_vector(model, tokenizer):
    positive, negative = (
        capture(model, tokenizer, side, layers=5) for side in zip(*SENTIMENT_PAIRS, strict=True)
    )
    return mean_difference(positive, negative, layer=5).values.norm().item()


def probabilities(prompt, words):
    def found(model, tokenizer):
        ids = [tokenizer(word)["input_ids"][0] for word in words]
        return next_token_logits(model, tokenizer, prompt).softmax(dim=1)[0, ids].tolist()

    return found


def top_without_norm(model, tokenizer):
    """The likeliest token's id at each layer but the last, if its state went into the head as it is."""
    h = capture(model, tokenizer, THREE).values[0, :-1]  # (n_layers - 1, d_model)
    with torch.no_grad():
        return model.lm_head(h.to(model.device)).argmax(dim=1).tolist()


FACTS = [
    Fact(
        "tokens of the eight pairs", [n for n in (6, 7, 6, 5, 4, 6, 4, 4) for _ in range(2)], 0, token_counts
    ),
    Fact("loss on 'Hello world!' after the start token", 5.331855773925781, 1e-4, loss),
    Fact(
        "largest entry of the first position, by layer",
        [99, 616, 2480, 2656, 2800, 2896, 2960, 2992, 3008, 3024, 3024, 364],
        16,
        largest,
    ),
    Fact("its dimension, layers 2 to 10", [447] * 9, 0, largest_dimension),
    Fact("mean norm of what enters block 7, later positions", 88.76, 0.15 * 88.76, mean_norm),
    Fact("norm of the first notebook's vector, layer 5", 26.3396, 0.01, notebook_vector),
    Fact(
        f"P of {', '.join(CITIES)} after {ONE!r}",
        [0.06, 0.05, 0.03, 0.03, 0.03],
        0.006,
        probabilities(ONE, CITIES),
    ),
    Fact(f"P of Paris after {TWO!r}", [0.08], 0.006, probabilities(TWO, CITIES[:1])),
    Fact(f"P of Paris after {THREE!r}", [0.17], 0.006, probabilities(THREE, CITIES[:1])),
    Fact("top token without the final norm, layers 0 to 10 (' the')", [262] * 11, 0, top_without_norm),
]


def table(model, tokenizer) -> str:
    """Each fact in three lines: whether it holds, what is found, what was published."""
    lines = []
    for fact in FACTS:
        found = fact.found(model, tokenizer)
        lines.append(f"{'holds  ' if fact.holds(found) else 'DIFFERS'}  {fact.name}")
        for label, numbers in (("found", found), ("published", fact.published)):
            lines.append(f"    {label:<10}{'  '.join(f'{x:.6g}' for x in np.atleast_1d(numbers))}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(*load_model("gpt2")))
