"""What the pass that runs now is: whose rows it has, which columns, and where the prompt ends.

Steering that depends on a row or a position has to know this, and a forward hook on a block is told nothing
of it. So one Watch follows each model, from the first `steer` that is entered to the last one that is left.
"""

import contextlib
import math
import threading
import weakref
from functools import partial

import torch
import transformers

from .blocks import decoder, unwrapped

CACHES = ("past_key_values", "cache_params", "state")  # by family, what holds the columns before
_watches = weakref.WeakKeyDictionary()  # decoder -> its Watch, while anything is steered
_stances, _lock = [], threading.RLock()


@contextlib.contextmanager
def eager():
    """While it is open, what `torch.compile` made runs as it was written, and so meets the hooks."""
    with _lock:  # the stance is one for the whole process
        _stances.append(_stances[0] if _stances else torch.compiler.set_stance("force_eager"))
    try:
        yield
    finally:
        with _lock:
            stance = _stances.pop()
            if not _stances:
                stance.__exit__(None, None, None)


def current(model):
    """The Watch on this model, or None where nothing is steered."""
    return _watches.get(decoder(model))


def call(model, **state):
    """A call whose passes have this state, where anything is steered; see `Watch.call`."""
    watch = current(model)
    return watch.call(**state) if watch else contextlib.nullcontext()


@contextlib.contextmanager
def watching(model, layer):
    """The model's Watch, opened or shared, which knows that this layer is steered; the last takes it off."""
    key = decoder(model)
    with _lock:
        watch = _watches.get(key) or _watches.setdefault(key, Watch(model))
        if watch.thread != threading.get_ident():
            raise RuntimeError("another thread is steering this model: give each thread a model of its own")
        watch.layers.append(layer)
    try:
        yield watch
    finally:
        with _lock:
            watch.layers.remove(layer)
            if not watch.layers:
                _watches.pop(key).close()


class Watch:
    """Follows the passes of one model.

    Columns are counted across the key-value cache. Inside the model's own `generate`, the prompt is what that
    was given. Elsewhere a pass that starts before the prompt's end is a new prompt, unless decoding without a
    cache starts over with one more token.

    Attributes:
        seen: columns before those of the running pass; `shape`, the pass's (n_rows, n_columns).
        tokens: the prompt, (n_prompts, end, …); `real`, its mask, 1 for real tokens; `end`, where it ends.
        given: of how many tokens each row's prompt is, where a known text follows it; `ends`, where each
            prompt ends then, (n_rows, 1), and else `end`.
        rows: the caller's rows that the pass has, of `total`, where a call goes through its rows in batches;
            `copies`, how often each of the caller's prompts stands in a batch that is generated from.
        layers: those that are steered; `reached`, those that met their hook in the running pass.
        length: columns at the end of the last pass; `generating`, whether the model's `generate` runs.
        thread: the one that steers; `owner` and `running`, those of the call and of the pass that run now.
        paused: whether the passes are the library's own and unsteered, so that nothing is counted or checked.
    """

    def __init__(self, model):
        self.thread, self.layers, self.reached = threading.get_ident(), [], set()
        self.seen, self.length, self.end, self.ends, self.shape = 0, 0, math.inf, math.inf, (0, 0)
        self.tokens = self.real = self.rows = self.total = self.given = self.owner = self.running = None
        self.paused, self.generating, self.copies = False, False, 1
        hosts = [m for m in unwrapped(model).modules() if isinstance(m, transformers.GenerationMixin)][:1]
        hooks = [(m, self._before_model, self._after_model) for m in {unwrapped(model), *hosts}]
        hooks += [(decoder(model), self._before, self._after)]
        with contextlib.ExitStack() as stack:
            stack.enter_context(eager())
            for module, before, after in hooks:
                stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(after, always_call=True).remove)
            for host in hosts:
                stack.enter_context(overridden(host, generate=partial(self._generate, host.generate)))
            self.close = stack.pop_all().close

    @contextlib.contextmanager
    def call(self, **state):
        """A call of several passes, which have this state. Another thread's pass is refused meanwhile."""
        self._check_thread()
        state["owner"] = threading.get_ident()
        before = {name: getattr(self, name) for name in state}
        self.__dict__.update(state)
        try:
            yield
        finally:
            self.__dict__.update(before)

    def for_rows(self, values, name):
        """`values` (n_prompts, …) for the rows of the running pass: (n_rows, …).

        Rows that generation made of one prompt (beams, several samples) get the value of their prompt.
        """
        n = self.total or len(self.tokens) // self.copies
        if len(values) != n:
            remedy = "give one for each prompt" + ", or [[a], [b]] for one per vector" * (name == "alpha")
            raise ValueError(f"{name} has {len(values)} rows, the batch {n}: {remedy}")
        return values.repeat_interleave(self.shape[0] // n, dim=0) if self.rows is None else values[self.rows]

    def _generate(self, original, *args, **kwargs):
        """The model's own `generate`, which is `original`, told where the prompt ends."""
        if kwargs.get("guidance_scale") not in (None, 1):
            raise ValueError("guidance_scale runs a second prompt, which is not steered: leave it out")
        given = (*args[:1], *map(kwargs.get, ("inputs", "input_ids", "inputs_embeds")))
        tokens = next((value for value in given if value is not None), None)
        if tokens is None:
            raise ValueError("generate() has no prompt: give one, so that positions mean something")
        mask = kwargs.get("attention_mask")
        real, end = None if mask is None else mask.cpu(), tokens.shape[1]
        with self.call(generating=True, tokens=tokens, real=real, end=end, ends=end, length=0):
            return original(*args, **kwargs)

    def _check_thread(self):
        if {self.owner, self.running} - {None, threading.get_ident()}:
            raise RuntimeError("another thread runs this model while it is steered: let one finish first")

    def _before_model(self, module, args, kwargs):
        self.reached = set()

    def _after_model(self, module, args, output):
        """After a whole pass, if nothing was raised: it must have met the hooks, and come to numbers."""
        if output is None or self.paused:
            return
        if missing := {*self.layers} - self.reached:
            # a part of the model was replaced, exported or captured as a graph
            raise RuntimeError(f"the pass ran past the hook of layer {min(missing)}: use the model as loaded")
        if (logits := getattr(output, "logits", None)) is not None:
            new = torch.ones(len(self.real), max(0, self.length - self.real.shape[1]))
            real = torch.cat([self.real, new], dim=1)[:, self.seen :].bool().to(logits.device)
            real = real[:, -logits.shape[1] :].repeat_interleave(len(logits) // len(real), dim=0)
            check_finite(logits, real if logits.ndim == 3 else True)  # a classifier has one for each row

    def _before(self, module, args, kwargs):
        """Before the decoder: which rows and columns the pass has."""
        self._check_thread()
        self.running = threading.get_ident()
        if self.paused:
            return
        given = (kwargs.get("input_ids"), *args[:1], kwargs.get("inputs_embeds"))
        tokens = next(value for value in given if value is not None)
        cache = next((kwargs[name] for name in CACHES if kwargs.get(name) is not None), None)
        self.seen, self.shape = self._columns_seen(cache, kwargs.get("cache_position")), tokens.shape[:2]
        # decoding without a cache: the same prompt, one token longer than it was in the last pass
        grown = self.tokens is not None and tokens.shape[1] == self.length + 1
        alone = cache is None and self.rows is None and kwargs.get("use_cache") is False
        continued = grown and alone and tokens[:, : self.end].equal(self.tokens)
        if self.seen < self.end and not (self.generating or continued):  # it is a new prompt, or more of one
            self.tokens, self.real, self.end = tokens, None, self.seen + tokens.shape[1]
            self.ends = self.end
        if self.real is None:  # as the pass has it: `generate` makes a mask by itself where none is given
            mask = kwargs.get("attention_mask")
            told = mask is not None and mask.ndim == 2 and mask.shape[1] >= self.end
            self.real = mask[:, : self.end].cpu() if told else torch.ones(len(tokens), self.end)
            if self.given is not None:  # the rest of each row is text that was generated
                self.ends = torch.tensor(self.given)[:, None]
                self.real = self.real * (torch.arange(self.end) < self.ends)
        self.length = self.seen + tokens.shape[1]

    def _after(self, module, args, output):
        if self.running == threading.get_ident():
            self.running = None

    def _columns_seen(self, cache, position) -> int:
        """The columns before those of this pass: as the cache says or, where it cannot, as counted here."""
        if position is not None:
            return int(position[0])
        with contextlib.suppress(AttributeError, ValueError):  # a state space has no length to tell
            return int(cache.get_seq_length())
        with contextlib.suppress(AttributeError, ValueError):
            return self.length if cache.has_previous_state() else 0
        return 0 if cache is None else self.length


def check_finite(logits, real=True):
    """Refuse logits with NaN or inf in them with a FloatingPointError: no text may come of them.

    Args:
        real: which of them are of real tokens, (n_rows, n_columns): of padding, some models make NaN.
    """
    if not logits.is_meta and (~logits.detach().amax(-1).isfinite() & real).any():
        remedy = "steer with a smaller alpha, or load the model with dtype=torch.float32"
        raise FloatingPointError(f"the logits are not finite in {logits.dtype}: {remedy}")


@contextlib.contextmanager
def overridden(module, **methods):
    """A module with methods of its own in place of those of its class, put back as they were."""
    before = {name: module.__dict__[name] for name in methods if name in module.__dict__}
    module.__dict__.update(methods)
    try:
        yield
    finally:
        for name in methods:
            del module.__dict__[name]
        module.__dict__.update(before)
