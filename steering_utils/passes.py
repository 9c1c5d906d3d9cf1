"""Forward passes that run no more than is read of them.

The language-model head runs only at the positions that are read. Where the same prompts are read under many
strengths or directions, the part below the lowest steered layer runs once for each different prompt, and only
the blocks above run again for each row.
"""

import contextlib
import math
import warnings

import torch
from torch import nn

from .blocks import as_int, check_eval, decoder, decoder_blocks, residual, unwrapped, with_residual
from .tokens import pad
from .watch import call, check_finite, current, eager, overridden

TOKENS_AT_ONCE = 2_000  # in one pass at most: it bounds memory, and more would leave a processor's cache
POSITIONS_AT_ONCE = 500  # at which the head runs at a time: each has a logit for the whole vocabulary
# the state of a call whose pass is a new prompt, whatever was running before
OWN = {"generating": False, "tokens": None, "real": None, "end": math.inf, "ends": math.inf, "length": 0}


class _Done(Exception):
    """Raised by a hook: nothing after that module is needed."""


@contextlib.contextmanager
def reading(model):
    """Passes that only read: no gradients, and nothing compiled, which would not run the hooks.

    Raises:
        ValueError: the model is in training mode.
    """
    check_eval(unwrapped(model))
    with torch.no_grad(), eager():
        yield


def batched(lengths, batch_size=None) -> list[list[int]]:
    """Rows in batches of at most `batch_size` rows and TOKENS_AT_ONCE tokens, each of similar lengths."""
    if batch_size is not None and as_int(batch_size, "batch_size") < 1:
        raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
    parts = [[]]
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if len(parts[-1]) == batch_size or (len(parts[-1]) + 1) * lengths[row] > TOKENS_AT_ONCE:
            parts.append([])
        parts[-1].append(row)
    return [sorted(part) for part in parts if part]  # in the caller's order


def check_fits(model, ids, n_new=1):
    """Refuse token ids that the model does not know, and more tokens, with `n_new` new ones, than it takes.

    Where positions are stored (GPT-2) there are no more of them: a ValueError. Where they are computed
    (rotary embeddings) the model has not learned to use them: a warning. Others have no such limit.
    """
    model, longest = unwrapped(model), max(map(len, ids))
    words, config = model.get_input_embeddings(), model.config.get_text_config(decoder=True)
    if bad := {token for row in ids for token in row if not 0 <= token < len(words.weight)}:
        raise ValueError(f"the model has {len(words.weight)} tokens, and none with the ids {sorted(bad)[:5]}")
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None or longest + n_new - 1 <= limit:
        return
    about = f"{longest} prompt tokens" + (f" and {n_new} new ones" if n_new > 1 else "")
    about += f" are more than the {limit} positions of {type(model).__name__}"
    stored = [m.weight for m in model.modules() if isinstance(m, nn.Embedding) and m is not words]
    tables = (x for m in model.modules() for x in (*vars(m).values(), *m._buffers.values()))
    stored += [x for x in tables if isinstance(x, torch.Tensor) and x.ndim == 2]
    if any(0 <= len(table) - limit <= 2 for table in stored):  # OPT has two rows that it does not use
        raise ValueError(f"{about}: shorten the prompt" + (" or max_new_tokens" if n_new > 1 else ""))
    rotary = any(name.endswith("inv_freq") for name, _ in decoder(model).named_buffers())
    if rotary and not getattr(config, "sliding_window", None) and not getattr(config, "alibi", False):
        warnings.warn(f"{about} that it was trained with: do not trust what it does there", stacklevel=3)


def block_outputs(model, tokenizer, ids, layers, keep, *, rows, total) -> torch.Tensor:
    """What `keep` leaves of the residual stream at each layer: (n_prompts, …, n_layers, d_model).

    Args:
        ids: the token ids of each prompt of the batch.
        keep: a function of h, (n_prompts, n_tokens, d_model).
        rows: their numbers among the caller's `total` prompts, by which each finds its own alpha.
    """
    inputs, blocks = pad(tokenizer, ids, device=model.device), decoder_blocks(model)

    def read(output):
        h = residual(output)
        if h.shape[1] != inputs["input_ids"].shape[1]:
            raise ValueError("the model adds columns of its own to the tokens', and positions cannot be told")
        return keep(h)

    with call(model, rows=rows, total=total, **OWN):
        kept = _outputs(model, inputs, [blocks[layer] for layer in layers], read)
    return torch.stack([h.to(kept[0].device) for h in kept], dim=-2)  # blocks may lie on several devices


def final_states(model, tokenizer, ids, columns, given=None) -> tuple[torch.Tensor, type]:
    """The states after the decoder's last layer, at the columns of each row that are asked for.

    Args:
        ids: the token ids of each row.
        columns: for each row, which of its tokens to read.
        given: for each row, how many of its tokens are the prompt; left out, all.

    Returns:
        (n, d_model), row by row, and within a row in the order of its columns; and the type in which the
        decoder hands them to the head.
    """
    check_fits(model, ids)
    watch, groups, kept = current(model), {}, [None] * len(ids)
    lowest = min(watch.layers) if watch else None
    for row, tokens in enumerate(ids):
        groups.setdefault(row if lowest is None else tuple(tokens), []).append(row)
    groups = list(groups.values())  # the rows of each different prompt
    for some in batched([len(ids[rows[0]]) for rows in groups]):  # the numbers of some groups
        inputs, shared = pad(tokenizer, [ids[groups[i][0]] for i in some], device=model.device), None
        rows = [row for i in some for row in groups[i]]
        place = [place for place, i in enumerate(some) for _ in groups[i]]  # each row's prompt in the inputs
        if len(rows) > len(some):
            with call(model, paused=True):
                shared = _outputs(model, inputs, decoder_blocks(model)[: lowest + 1])
        n = max(1, TOKENS_AT_ONCE // inputs["input_ids"].shape[1])
        for start in range(0, len(rows), n):
            now, picked = rows[start : start + n], place[start : start + n]
            batch = {name: values[picked] for name, values in inputs.items()}
            state = OWN | {"rows": now, "total": len(ids), "given": given and [given[row] for row in now]}
            with _resumed(model, shared, picked), call(model, **state):
                (output,) = _outputs(model, batch, [decoder(model)])
            for number, row in enumerate(now):
                kept[row] = output[0][number, columns[row]]
    return torch.cat(kept), type(output)


def check_head(model):
    """Refuse a model without a language-model head with a TypeError."""
    if model.get_output_embeddings() is None:
        raise TypeError(f"{type(model).__name__} has no language-model head: load it with load_model()")


def head(model, states, kind, read):
    """`read` of the logits, (n, n_vocabulary) in float32, POSITIONS_AT_ONCE at a time, put together.

    The logits come from the model's own code, so that each family's scaling of them is kept.

    Args:
        states, kind: as `final_states` gives them.
        read: a function of the logits and of the slice of positions that they are of.
    """
    model, parts = unwrapped(model), []
    check_head(model)
    for start in range(0, len(states), POSITIONS_AT_ONCE):
        here = slice(start, start + POSITIONS_AT_ONCE)
        final = states[None, here]  # (1, n, d_model)
        output = (final,) if kind is tuple else kind(last_hidden_state=final)
        ids = torch.zeros(final.shape[:2], dtype=torch.long, device=model.device)
        answer = overridden(decoder(model), forward=lambda *args, output=output, **kwargs: output)
        with call(model, paused=True), answer:
            logits = model(input_ids=ids, use_cache=False).logits[0]
        check_finite(logits)
        parts.append(read(logits.float(), here))
    return torch.cat(parts) if parts else torch.empty(0)


def _outputs(model, inputs, modules, read=lambda output: output) -> list:
    """What `read` leaves of each module's output, in a pass that ends with the last of them.

    It is read before any other hook, so that it is what the module gave; but the steering hooks, which are
    there already, come first where the pass is no shared one.
    """
    kept, watch = {}, current(model)

    def hook(module, args, output):
        kept[module] = read(output)
        if len(kept) == len(set(modules)):
            raise _Done

    with contextlib.ExitStack() as stack:
        for module in set(modules):
            first = bool(watch and watch.paused)
            stack.callback(module.register_forward_hook(hook, prepend=first).remove)
        stack.enter_context(contextlib.suppress(_Done))
        unwrapped(model)(**inputs, use_cache=False)
    return [kept[module] for module in modules]


@contextlib.contextmanager
def _resumed(model, shared, picked):
    """While open, the first blocks answer with what is known: the rows `picked` of what they gave."""
    with contextlib.ExitStack() as stack:
        for block, output in zip(decoder_blocks(model), shared or [], strict=False):
            answer = with_residual(output, residual(shared[-1])[picked])  # only the last one's is read
            stack.enter_context(overridden(block, forward=lambda *args, answer=answer, **kwargs: answer))
        yield
