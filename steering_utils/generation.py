"""Text from the model: sampled with seeds of one's own, so that two strengths can share their luck."""

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from .tokens import check_prompts, encode


@torch.no_grad()
def generate(model, tokenizer, prompts, *, max_new_tokens=30, temperature=1.0, top_p=0.95, seed=0, **options):
    """Continue each prompt by sampling.

    A row's text depends on its prompt, its seed and the steering, and on nothing else in the batch. With the
    same seed at every alpha, each row sees the same random numbers, so that a difference in
    the text comes from the steering and not from luck.

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
        TypeError, ValueError: as `encode` does; ValueError for a number of seeds that does not fit.

    Source:
        The argmax of log-probabilities plus Gumbel noise is an exact sample (Gumbel, 1954); top-p
        is from Holtzman et al., arXiv 1904.09751.
    """
    prompts = check_prompts(prompts)
    if temperature > 0 and max(options.get("num_beams", 1), options.get("num_return_sequences", 1)) > 1:
        raise ValueError("beams and several samples at once need temperature=0; to sample, repeat the prompt")
    seeds = range(seed, seed + len(prompts)) if isinstance(seed, int) else list(seed)
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(seeds)} seeds for {len(prompts)} prompts: give one int, or one per prompt")
    inputs = encode(tokenizer, prompts, padding_side="left", device=model.device)
    if temperature > 0:
        noise = GumbelNoise(seeds, start=inputs["input_ids"].shape[1])
        warpers = [TemperatureLogitsWarper(float(temperature)), TopPLogitsWarper(top_p), noise]
        options["logits_processor"] = LogitsProcessorList(warpers)
    output = model.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
        **options,
    )
    new = output[:, inputs["input_ids"].shape[1] :]
    return tokenizer.batch_decode(new, skip_special_tokens=True)


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
        generator = torch.Generator().manual_seed(1_000_003 * seed + step)
        return -torch.empty(n).exponential_(generator=generator).log()
