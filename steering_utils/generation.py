"""Text from the model: sampled with seeds of one's own, so that two strengths can share their luck."""

from collections.abc import Iterable

import torch
from transformers import LogitsProcessor, LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

from .blocks import as_int
from .tokens import check_prompts, encode, pad_id

# Over what the model's own generation_config may bring: it must neither warn nor change the distribution.
NEUTRAL = {"temperature": 1.0, "top_p": 1.0, "top_k": 50, "repetition_penalty": 1.0}

LIKELIEST = 1_000  # tokens that top-p looks at first


@torch.no_grad()
def generate(model, tokenizer, prompts, *, max_new_tokens=30, temperature=1.0, top_p=0.95, seed=0, **options):
    """Continue each prompt by sampling.

    A row's text depends on its prompt, its seed and the steering, and on nothing else in the batch. With the
    same seed at every alpha, a difference in the text comes from the steering and not from luck.

    Args:
        prompts: one string or a sequence of strings.
        max_new_tokens: at most so many tokens are added.
        temperature: 0 for greedy decoding.
        top_p: sample from the smallest set of tokens that has this probability.
        seed: an int (prompt i then uses seed + i), or one int per prompt.
        options: passed on to the model's own `generate`.

    Returns:
        A list with each prompt's continuation, without the prompt.

    Raises:
        TypeError: a prompt is not a string, a seed not an int.
        ValueError: no prompts, an empty one, a temperature below 0, a number of seeds that does not fit, or
            beams while sampling.

    Source:
        The argmax of log-probabilities plus Gumbel noise is an exact sample (Gumbel, 1954); top-p
        is from Holtzman et al., arXiv 1904.09751.
    """
    prompts = check_prompts(prompts)
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be 0 (greedy) or more, got {temperature!r}")
    if temperature > 0 and max(options.get("num_beams", 1), options.get("num_return_sequences", 1)) > 1:
        raise ValueError("beams and several samples at once need temperature=0; to sample, repeat the prompt")
    seeds = seed if isinstance(seed, Iterable) else range(as_int(seed, "seed"), as_int(seed) + len(prompts))
    seeds = [as_int(one, "seed") for one in seeds]
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(seeds)} seeds for {len(prompts)} prompts: give one int, or one per prompt")
    inputs = encode(tokenizer, prompts, padding_side="left", device=model.device)
    n_tokens = inputs["input_ids"].shape[1]
    if temperature > 0:
        sample = [TemperatureLogitsWarper(float(temperature)), TopP(top_p)]
        sample.append(GumbelNoise(seeds, start=n_tokens))
        options["logits_processor"] = LogitsProcessorList([*options.get("logits_processor", []), *sample])
    fixed = {"max_new_tokens": max_new_tokens, "pad_token_id": pad_id(tokenizer)}
    output = model.generate(**inputs, do_sample=False, **NEUTRAL | fixed | options)
    return tokenizer.batch_decode(
        output[:, n_tokens:], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )


class TopP(TopPLogitsWarper):
    """transformers' top-p, which sorts the whole vocabulary only for rows where the likeliest do not do."""

    def __call__(self, input_ids, scores):
        top = scores.topk(min(LIKELIEST, scores.shape[1]), dim=1)
        p = (top.values - scores.logsumexp(dim=1, keepdim=True)).exp()
        before = p.cumsum(dim=1) - p
        kept = top.values.masked_fill(before >= self.top_p, self.filter_value)
        scores, given = torch.full_like(scores, self.filter_value).scatter(1, top.indices, kept), scores
        flat = (p.sum(dim=1) < self.top_p) | (self.top_p == 1)
        if flat.any():
            scores[flat] = super().__call__(input_ids, given[flat])
        return scores


class GumbelNoise(LogitsProcessor):
    """Adds Gumbel noise to the logits, so that their argmax is a sample; each row has its own seed."""

    def __init__(self, seeds, start):
        self.seeds, self.start = list(seeds), start

    def __call__(self, input_ids, scores):
        step = input_ids.shape[1] - self.start
        by_seed = {seed: self._draw(seed, step, scores.shape[1]) for seed in set(self.seeds)}
        return scores + torch.stack([by_seed[seed] for seed in self.seeds]).to(scores.device)

    @staticmethod
    def _draw(seed, step, n):
        generator = torch.Generator().manual_seed((1_000_003 * seed + step) % 2**63)
        return -torch.empty(n).exponential_(generator=generator).log()
