"""Text from the model: sampled with seeds of one's own, so that two strengths can share their luck."""

from collections.abc import Iterable

import torch
import transformers

from .blocks import as_int, check_eval, unwrapped
from .options import PENALTIES, WARPERS, neutral, requested
from .passes import check_fits, check_head
from .tokens import check_prompts, pad, pad_id, token_ids
from .watch import call, check_finite

LIKELIEST = 1_000  # tokens that top-p looks at first


@torch.no_grad()
def generate(model, tokenizer, prompts, *, max_new_tokens=30, temperature=1.0, top_p=0.95, seed=0, **options):
    """Continue each prompt by sampling.

    A row's text depends on its prompt, its seed and the steering, and on nothing else in the batch. With the
    same seed at every alpha, a difference in the text comes from the steering and not from luck. Of the
    model's own generation_config only the token ids count. All rows run at once: give many long prompts in
    several calls.

    Args:
        prompts: one prompt or several, each a string or its token ids.
        max_new_tokens: at most so many tokens are added.
        temperature: 0 for greedy decoding, and for beams with `num_beams`.
        top_p: sample from the smallest set of tokens that has this probability.
        seed: an int (row i then uses seed + i), or one int per row.
        options: those of transformers' `generate`; what cannot hold here is refused by name.
            `num_return_sequences=n` gives n rows for each prompt, one after the other. A text that a stop
            string ended keeps it.

    Returns:
        A list of Continuation, one per row: the text without the prompt, a str that has its tokens in `ids`.
        With `return_dict_in_generate=True`, what transformers returns; the noise is in its `scores`, not in
        its `logits`.

    Raises:
        TypeError: a prompt is neither text nor token ids, a seed not an int.
        ValueError: no prompts, an empty one, one too long, a temperature below 0, a number of seeds that does
            not fit, an option that is refused, options that do not go together, or a model in training mode.
        FloatingPointError: the model's logits are not finite.

    Source:
        The argmax of log-probabilities plus Gumbel noise is an exact sample (Gumbel, 1954); top-p
        is from Holtzman et al., arXiv 1904.09751.

    Example:
        >>> texts = generate(model, tokenizer, ["I am", "She said"], max_new_tokens=5, seed=[3, 3])
        >>> [len(text.ids) for text in texts]
        [5, 5]
    """
    model = unwrapped(model)
    check_head(model)
    check_eval(model)
    asked = requested(options, max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p)
    sampling = asked["temperature"] > 0
    copies = asked.pop("num_return_sequences", 1) if sampling else 1
    prompts = [ids for ids in token_ids(tokenizer, check_prompts(prompts)) for _ in range(copies)]
    seeds = seed if isinstance(seed, Iterable) else range(as_int(seed, "seed"), as_int(seed) + len(prompts))
    seeds = [as_int(value, "seed") for value in seeds]
    if len(seeds) != len(prompts):
        raise ValueError(f"{len(seeds)} seeds for {len(prompts)} rows: give one int, or one per row")
    ends = asked.get("eos_token_id", model.generation_config.eos_token_id)
    ends = [] if ends is None else torch.as_tensor(ends).flatten().tolist()
    alone = {"streamer", "assistant_model", "prompt_lookup_num_tokens"}
    alone |= set() if ends else {"stopping_criteria", "stop_strings"}  # nothing marks a row that ended
    if (names := alone & asked.keys()) and max(len(prompts), asked.get("num_beams", 1)) > 1:
        raise ValueError(f"{min(names)} works for one row: give one prompt, one sample of it, and no beams")
    check_fits(model, prompts, asked["max_new_tokens"])
    inputs = pad(tokenizer, prompts, "left", model.device)
    n_tokens = inputs["input_ids"].shape[1]

    starts = [n_tokens - len(ids) for ids in prompts]
    processors = [lambda ids, scores: check_finite(scores) or scores]  # which it raises on, or leaves alone
    processors += [_unpadded(penalty, starts) for penalty in _made(PENALTIES, "Processor", asked)]
    processors += asked.pop("logits_processor", [])
    warpers = _made(WARPERS, "Warper", asked)
    processors += [*warpers, GumbelNoise(seeds, start=n_tokens)] if sampling else []
    fixed = {"do_sample": False, "pad_token_id": pad_id(tokenizer)}
    if asked.keys() & {"stop_strings", "assistant_tokenizer"}:
        fixed["tokenizer"] = tokenizer
    asked = neutral(model) | fixed | asked | {"logits_processor": processors}
    with call(model, copies=copies):
        output = model.generate(**inputs, **asked)
    if asked.get("return_dict_in_generate"):
        return output
    return _continuations(tokenizer, output[:, n_tokens:].tolist(), ends)


class Continuation(str):
    """What the model wrote, a str; `ids` has its tokens, without padding, the end and other special ones."""

    def __new__(cls, text, ids=()):
        """Put the two together."""
        self = super().__new__(cls, text)
        self.ids = list(ids)
        return self


def _made(names, suffix, asked) -> list:
    """transformers' own processors for what is asked for, which is taken out."""
    made = []
    for name, stem in names.items():
        value, off = asked.pop(name, None), 1 if name in ("top_p", "typical_p") else 0
        if value is not None and value != off:
            kind = TopP if name == "top_p" else getattr(transformers, f"{stem}Logits{suffix}")
            made.append(kind(value))
    return made


def _unpadded(processor, starts):
    """The processor on each prompt's rows from where they start: padding is no text."""

    def run(input_ids, scores):
        n = len(scores) // len(starts)  # beams of each
        rows = zip(input_ids.split(n), starts, scores.split(n), strict=True)
        return torch.cat([processor(ids[:, start:], row) for ids, start, row in rows])

    return run


def _continuations(tokenizer, rows, ends) -> list[Continuation]:
    """Rows of new tokens as texts, each up to where it ended."""
    special, texts = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}, []
    for ids in rows:
        ids = ids[: min((ids.index(token) for token in ends if token in ids), default=len(ids)) + 1]
        ids = [token for token in ids if token not in special]
        texts.append(Continuation(tokenizer.decode(ids, clean_up_tokenization_spaces=False), ids))
    return texts


class TopP(transformers.TopPLogitsWarper):
    """transformers' top-p, which sorts the whole vocabulary only for rows where the likeliest do not do."""

    def __call__(self, input_ids, scores):
        values, tokens = scores.topk(min(LIKELIEST, scores.shape[1]), dim=1)
        p = (values - scores.logsumexp(dim=1, keepdim=True)).exp()
        before, flat = p.cumsum(dim=1) - p, (p.sum(dim=1) < self.top_p) | (self.top_p == 1)
        kept = values.masked_fill((before >= self.top_p) & (before > 0), self.filter_value)
        cut = torch.full_like(scores, self.filter_value).scatter(1, tokens, kept)
        if flat.any():
            cut[flat] = super().__call__(input_ids, scores[flat])
        return cut


class GumbelNoise(transformers.LogitsProcessor):
    """Adds Gumbel noise to the logits, so that their argmax is a sample; each row has its own seed."""

    def __init__(self, seeds, start):
        self.seeds, self.start = list(seeds), start

    def __call__(self, input_ids, scores):
        step, draws = input_ids.shape[1] - self.start, {}
        for seed in set(self.seeds):
            generator = torch.Generator().manual_seed((1_000_003 * seed + step) % 2**63)
            draws[seed] = -torch.empty(scores.shape[1]).exponential_(generator=generator).log()
        return scores + torch.stack([draws[seed] for seed in self.seeds]).to(scores.device)
