"""Models with random weights, on which a chapter must run to its end as on real ones: never on a page.

`python tests/doubles.py FOLDER` saves both under FOLDER, as `gpt2` and `neox`, for STEERING_MODEL.
"""

import inspect
import re
import string
import sys
from pathlib import Path

import torch
from conftest import gpt2_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    PreTrainedTokenizerFast,
)

from steering_utils.pages import texts

WIDTH, HEADS = 96, 12  # an eighth of GPT-2 small's width, all of its 12 blocks
ROGUE = [55, 17, 47]  # its dimensions 447, 138 and 378, scaled down to the width
FIRST_POSITION = [99, 616, 2480, 2656, 2800, 2896, 2960, 2992, 3008, 3024, 3024, 364]  # max |h| by layer


@torch.no_grad()
def gpt2_double() -> GPT2LMHeadModel:
    """GPT-2 small made narrow: the stream grows with depth, and position 0 is as large as in GPT-2.

    In each block one neuron of the MLP sees the first position by its share of the largest rogue dimension,
    and writes there what the published sizes ask for; block 11 takes most of it away again.
    """
    torch.manual_seed(0)
    config = GPT2Config(n_embd=WIDTH, n_head=HEADS, bos_token_id=50256, eos_token_id=50256)
    model = GPT2LMHeadModel(config).eval()
    own = model.transformer
    own.wte.weight.mul_(18)  # rows of length 3.5
    own.ln_f.weight.fill_(1.7)  # about 3 nats of entropy at the next token, as a trained model has
    own.ln_f.weight[ROGUE] = 0  # or one constant would choose the token
    own.wpe.weight[1:, ROGUE[1:]] += torch.tensor([20.0, 15.0])
    own.wpe.weight[0, ROGUE] = size = torch.tensor([60.0, 8.0, 6.0])
    for k, (block, target) in enumerate(zip(own.h, FIRST_POSITION, strict=True)):
        block.attn.c_attn.weight.mul_(6)
        block.attn.c_proj.weight.mul_(12 + 8 * k)
        block.mlp.c_fc.weight.mul_(6)
        block.mlp.c_proj.weight.mul_(12 + 8 * k)
        # neuron 0 answers to a share above 7 of at most √96 = 9.8, and so to position 0 alone
        block.mlp.c_fc.weight[:, 0] = 0
        block.mlp.c_fc.weight[ROGUE[0], 0], block.mlp.c_fc.bias[0] = 4, -28
        share = WIDTH**0.5 * size[0] / size.norm()
        block.mlp.c_proj.weight[0] = 0
        block.mlp.c_proj.weight[0, ROGUE] = size * (target / size[0] - 1) / (4 * share - 28)
        size = size * target / size[0]
    return model


def pieces_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer as SentencePiece makes them, with a start token: "▁good" decodes as "good" by itself.

    Its words are those of the book's texts; what else there is goes into single characters.
    """
    special = ["<unk>", "<s>", "</s>"]
    words = sorted({*re.findall(r"[A-Za-z]+", inspect.getsource(texts))})
    scores = [(name, 0.0) for name in special] + [(f"▁{word}", -1.0) for word in words]
    scores += [(character, -10.0) for character in "▁" + string.printable.strip() + "’—"]
    inner = Tokenizer(models.Unigram(scores, unk_id=0))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    named = dict(zip(("unk_token", "bos_token", "eos_token"), special, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=inner, **named)


def neox_double(n_tokens: int) -> GPTNeoXForCausalLM:
    """A model of another kind: `gpt_neox.layers`, rotary positions, and a head of its own."""
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        num_hidden_layers=6,
        hidden_size=64,
        num_attention_heads=4,
        intermediate_size=128,
        vocab_size=n_tokens,
        max_position_embeddings=512,
        initializer_range=0.15,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
    )
    return GPTNeoXForCausalLM(config).eval()


def save(folder: Path):
    """Both doubles under `folder`, each with its tokenizer."""
    pieces = pieces_tokenizer()
    made = {"gpt2": (gpt2_double(), gpt2_tokenizer()), "neox": (neox_double(len(pieces)), pieces)}
    for name, both in made.items():
        for part in both:
            part.save_pretrained(folder / name)


if __name__ == "__main__":
    save(Path(sys.argv[1]))
