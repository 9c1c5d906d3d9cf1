"""What steering must come to, done by hand: the references that the tests compare with."""

import contextlib

import torch

from steering_utils import decoder_blocks
from steering_utils.tokens import encode


@torch.no_grad()
def logits(model, ids):
    """The logits of a forward pass: (n_rows, n_tokens, n_vocabulary)."""
    return model(ids).logits


def close(a, b, atol=2e-4):
    """Equal but for float error."""
    torch.testing.assert_close(a, b, rtol=1e-4, atol=atol)


def changed(a, b):
    """Different by more than float error."""
    return float((a - b).abs().max()) > 0.05


def block_outputs(model, ids):
    """What each block returns for one prompt's ids, by a hook set here: (n_layers, n_tokens, d_model)."""
    seen = []
    with contextlib.ExitStack() as stack:
        for block in decoder_blocks(model):
            keep = block.register_forward_hook(
                lambda m, a, output: seen.append(output[0] if isinstance(output, tuple | list) else output)
            )
            stack.callback(keep.remove)
        logits(model, torch.tensor([ids]))
    return torch.cat(seen)


@contextlib.contextmanager
def added_by_hand(model, layer, where):
    """Add `where(n_tokens)`, a tensor (n_tokens, d_model), to a block's output: the reference."""

    def hook(module, args, output):
        h = output[0] if isinstance(output, tuple | list) else output
        h = h + where(h.shape[1])
        return (h, *output[1:]) if isinstance(output, tuple | list) else h

    handle = decoder_blocks(model)[layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def columns(positions, n_prompt, n_tokens):
    """1 for each column that a word or a set of columns names, without padding: (n_tokens, 1)."""
    column = torch.arange(n_tokens)
    if isinstance(positions, set):
        return torch.isin(column, torch.tensor(sorted(positions))).float()[:, None]
    chosen = {
        "all": column >= 0,
        "prompt": column < n_prompt,
        "new": column >= n_prompt,
        "last": column == n_prompt - 1,
        "from_last": column >= n_prompt - 1,
        "after_first": column > 0,
        "front": column == 0,
    }
    return chosen[positions].float()[:, None]


def greedy_by_hand(model, ids, vector, alpha, positions, n_new):
    """Greedy decoding of one prompt, run afresh for each token: ids and logits (n_new, n_vocabulary)."""
    ids, rows, n_prompt = torch.tensor([ids]), [], len(ids)

    def where(n_tokens):
        return alpha * vector.values * columns(positions, n_prompt, n_tokens)

    with added_by_hand(model, vector.layer, where):
        for _ in range(n_new):
            rows.append(logits(model, ids)[0, -1])
            ids = torch.cat([ids, rows[-1].argmax().view(1, 1)], dim=1)
    return ids[0, n_prompt:], torch.stack(rows)


def greedy(model, tokenizer, prompts, n_new=5, **options):
    """The model's own greedy decoding: ids (n_prompts, n_new) and logits (n_prompts, n_new, n_vocabulary)."""
    inputs = encode(tokenizer, prompts, padding_side="left")
    settings = {"do_sample": False, "pad_token_id": 50256, "eos_token_id": None, "max_new_tokens": n_new}
    full = {"output_logits": True, "return_dict_in_generate": True}
    output = model.generate(**inputs, **settings, **full, **options)
    return output.sequences[:, inputs["input_ids"].shape[1] :], torch.stack(output.logits, dim=1)
