"""The contestants: how each library is asked for a direction, and to write while steered by one.

`extract(pairs, layers)` gives directions (n_layers, d_model), of all layers if `layers` is None, and
`generate(inputs, vector, n)` the prompts with n greedy tokens each, both as the library's own documentation
has it; asked for logits, it gives what the library's generation then returns. `check` gives what is compared
with the bare hooks. A contestant that lacks one of the two does not take part there.
"""

import importlib

import numpy as np
import torch

from steering_utils import capture, decoder_blocks, mean_difference, steer
from steering_utils.baking import bake

BATCH = 32


def in_batches(pairs, read):
    """The mean of what `read` gives for the positive prompts minus that for the negative ones."""
    means = []
    for side in zip(*pairs, strict=True):
        rows = [read(list(side[i : i + BATCH])) for i in range(0, len(side), BATCH)]
        means.append(torch.cat(rows).mean(0))
    return means[0] - means[1]


class Contestant:
    """A library with a model and a tokenizer of its own to work on."""

    package = "torch"

    def __init__(self, model, tokenizer):
        self.model, self.tokenizer = model, tokenizer
        self.greedy = {"do_sample": False, "pad_token_id": tokenizer.pad_token_id}
        self.library = importlib.import_module(self.package.replace("-", "_"))

    def check(self, pairs):
        """Directions that must be those of the bare hooks, of all layers or of the first ones."""
        return self.extract(pairs)

    def write(self, inputs, n, **options):
        """Exactly n greedy tokens by the model's own `generate`, or by that of `options["by"]`."""
        by = options.pop("by", self.model)
        return by.generate(**inputs, **self.greedy, max_new_tokens=n, min_new_tokens=n, **options)


class Bare(Contestant):
    """No library: the base model without its head and one-line hooks, the prompts in the order given."""

    def extract(self, pairs, layers=None):
        kept, blocks = [], self.model.transformer.h
        hooks = [
            block.register_forward_hook(lambda m, args, h: kept.append(h[rows, last])) for block in blocks
        ]

        def read(prompts):
            nonlocal rows, last
            kept.clear()
            inputs = self.tokenizer(prompts, padding=True, padding_side="right", return_tensors="pt")
            rows, last = torch.arange(len(prompts)), inputs["attention_mask"].sum(1) - 1
            self.model.transformer(**inputs, use_cache=False)
            return torch.stack(kept, dim=1)

        rows = last = None
        found = in_batches(pairs, read)
        for hook in hooks:
            hook.remove()
        return found

    def generate(self, inputs, vector, n, **options):
        block = self.model.transformer.h[vector.layer]
        hook = block.register_forward_hook(lambda m, args, h: h + vector.values)
        made = self.write(inputs, n, **options)
        hook.remove()
        return made


class Ours(Contestant):
    package = "steering_utils"

    def extract(self, pairs, layers=None):
        sides = [capture(self.model, self.tokenizer, side, layers) for side in zip(*pairs, strict=True)]
        return torch.stack([mean_difference(*sides, layer=layer).values for layer in sides[0].layers])

    def generate(self, inputs, vector, n, alpha=1.0, **options):
        with steer(self.model, vector, alpha):
            return self.write(inputs, n, **options)


class Baked(Contestant):
    package = "steering_utils"
    baked = False

    def generate(self, inputs, vector, n, **options):
        if not self.baked:  # once, in the check, before any clock runs
            bake(self.model, vector)
            self.baked = True
        return self.write(inputs, n, **options)


class SteeringVectors(Contestant):
    package = "steering-vectors"
    batch_size = BATCH

    def extract(self, pairs, layers=None):
        made = self.library.train_steering_vector(
            self.model, self.tokenizer, pairs, layers=layers, batch_size=self.batch_size
        )
        return torch.stack([direction for _, direction in sorted(made.layer_activations.items())])

    def generate(self, inputs, vector, n, **options):
        with self.library.SteeringVector({vector.layer: vector.values}).apply(self.model):
            return self.write(inputs, n, **options)


class SteeringVectorsDefault(SteeringVectors):
    batch_size, generate = 1, None


class Repeng(Contestant):
    package = "repeng"
    controlled = None

    def extract(self, pairs, layers=None):
        entries = [self.library.DatasetEntry(*pair) for pair in pairs]
        layers = range(len(decoder_blocks(self.model))) if layers is None else layers
        made = self.library.ControlVector.train(self.model, self.tokenizer, entries, hidden_layers=layers)
        return torch.stack([torch.from_numpy(made.directions[layer]) for layer in layers])

    def check(self, pairs):
        """The mean differences of the states that it reads; the last layer's are after the final norm."""
        prompts = [prompt for pair in pairs for prompt in pair]
        layers = list(range(len(decoder_blocks(self.model)) - 1))
        read = self.library.extract.batched_get_hiddens(self.model, self.tokenizer, prompts, layers, BATCH)
        return torch.stack([torch.from_numpy((read[k][::2] - read[k][1::2]).mean(0)) for k in layers])

    def generate(self, inputs, vector, n, **options):
        self.controlled = self.controlled or self.library.ControlModel(self.model, [vector.layer])
        directions = {vector.layer: vector.values.numpy()}
        self.controlled.set_control(self.library.ControlVector("gpt2", directions), 1.0)
        return self.write(inputs, n, by=self.controlled, **options)


class RepengMended(Repeng):
    def __init__(self, model, tokenizer):
        np.float_ = np.float64  # noqa: NPY201 (what its import asks for)
        super().__init__(model, tokenizer)
        del np.float_  # noqa: NPY201


class TransformerLens(Contestant):
    package = "transformer-lens"

    def __init__(self, model, tokenizer):
        super().__init__(model, tokenizer)
        bridge = importlib.import_module("transformer_lens.model_bridge").TransformerBridge
        self.bridge = bridge.boot_transformers("gpt2", hf_model=model, tokenizer=tokenizer, device="cpu")

    def extract(self, pairs, layers=None):
        layers = range(self.bridge.cfg.n_layers) if layers is None else layers
        names, stop = [f"blocks.{layer}.hook_out" for layer in layers], max(layers) + 1

        def read(prompts):
            tokens = self.bridge.to_tokens(prompts, prepend_bos=False, padding_side="right")
            rows, last = torch.arange(len(tokens)), (tokens != self.tokenizer.pad_token_id).sum(1) - 1
            _, cache = self.bridge.run_with_cache(tokens, names_filter=names, stop_at_layer=stop)
            return torch.stack([cache[name][rows, last] for name in names], dim=1)

        return in_batches(pairs, read)

    def generate(self, inputs, vector, n, return_dict_in_generate=False, **options):
        hooks = [(f"blocks.{vector.layer}.hook_out", lambda h, hook: h + vector.values)]
        options |= {"attention_mask": inputs["attention_mask"], "max_new_tokens": n, "do_sample": False}
        with self.bridge.hooks(fwd_hooks=hooks):
            return self.bridge.generate(inputs["input_ids"], stop_at_eos=False, verbose=False, **options)


class NNsight(Contestant):
    package = "nnsight"

    def __init__(self, model, tokenizer):
        super().__init__(model, tokenizer)
        self.traced = self.library.TransformersModel(model, tokenizer=tokenizer, task="text-generation")

    def extract(self, pairs, layers=None):
        blocks = self.traced.transformer.h
        layers = range(len(decoder_blocks(self.model))) if layers is None else layers

        def read(prompts):
            with self.traced.trace(prompts) as tracer:
                states = self.library.save([])
                for layer in layers:
                    states.append(blocks[layer].output[:, -1])
                tracer.stop()
            return torch.stack(states, dim=1)

        return in_batches(pairs, read)

    def generate(self, inputs, vector, n, **options):
        settings = self.greedy | {"max_new_tokens": n, "min_new_tokens": n} | options
        with self.traced.generate(**inputs, **settings) as tracer:
            for _ in tracer.iter[:n]:
                self.traced.transformer.h[vector.layer].output[:] += vector.values
            made = tracer.result.save()
        return made


ONE_BY_ONE = "steering-vectors, default"
CONTESTANTS = {
    "bare hooks": Bare,
    "steering_utils": Ours,
    "steering_utils, baked": Baked,
    "steering-vectors": SteeringVectors,
    ONE_BY_ONE: SteeringVectorsDefault,
    "repeng": Repeng,
    "repeng, mended": RepengMended,
    "TransformerLens": TransformerLens,
    "nnsight": NNsight,
}
STOPPING = ["steering_utils", "TransformerLens", "nnsight"]  # end the pass at the deepest layer asked for
MENDED = "with numpy.float_ put back for its import"
COMPONENT = (
    "gives a principal component of length 1; what is checked is the mean difference of the states it reads"
)
NOTES = {
    ("extraction", ONE_BY_ONE): "one pair at a time",
    (
        "extraction",
        "repeng, mended",
    ): f"{MENDED}; {COMPONENT}, but for the last layer's, after the final norm",
    ("extraction", "TransformerLens"): "its eager attention",
    ("generation", "steering_utils, baked"): "baked in once, before the clock starts",
    ("generation", "repeng, mended"): MENDED,
    ("generation", "TransformerLens"): "its own generate and its eager attention",
}
