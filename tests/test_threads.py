"""Threads that would mix up each other's positions are refused; one that only writes elsewhere is not."""

import threading

import pytest
import torch
from by_hand import logits
from conftest import hooks_on, some_vector, tiny_model
from transformers import TextIteratorStreamer

from steering_utils import decoder_blocks, generate, steer
from steering_utils.tokens import encode

IDS = torch.tensor([[464, 6193, 287, 262, 12269, 318]])


def errors_of(*tasks):
    """What each task raises when all run at once, a thread each."""
    errors = {}

    def run(number, task):
        try:
            task()
        except Exception as error:
            errors[number] = error

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return errors


def test_a_second_threads_steer_on_one_model_is_refused():
    model = tiny_model("gpt2")

    def steered():
        with steer(model, some_vector()):
            logits(model, IDS)

    with steer(model, some_vector()):
        errors = errors_of(steered)
        assert "another thread is steering this model" in str(errors[0])
    assert hooks_on(model) == 0
    assert not errors_of(steered)


def test_passes_that_overlap_are_refused():
    model, inside, go_on = tiny_model("gpt2"), threading.Event(), threading.Event()

    def wait(module, args):
        inside.set()
        assert go_on.wait(30)

    def second():
        assert inside.wait(30)
        try:
            decoder = model.transformer
            decoder(IDS)
        finally:
            go_on.set()

    with steer(model, some_vector()):
        handle = decoder_blocks(model)[2].register_forward_pre_hook(wait)
        errors = errors_of(lambda: logits(model, IDS), second)
        handle.remove()
        assert list(errors) == [1] and "another thread runs this model" in str(errors[1])
        logits(model, IDS)  # and afterwards one may go on


def test_a_streamer_that_generates_in_a_worker_is_fine(tokenizer):
    model = tiny_model("gpt2")
    for own in (True, False):
        with steer(model, some_vector(), 3.0, positions="new"):
            (wanted,) = generate(model, tokenizer, "I am", temperature=0, max_new_tokens=6)
            streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=30)
            options = {"max_new_tokens": 6, "streamer": streamer}
            task = (
                (lambda options=options: generate(model, tokenizer, "I am", temperature=0, **options))
                if own
                else lambda options=options: model.generate(
                    **encode(tokenizer, "I am"), do_sample=False, pad_token_id=50256, **options
                )
            )
            thread = threading.Thread(target=task)
            thread.start()
            text = "".join(streamer)
            thread.join()
        assert text == wanted


def test_a_pass_beside_a_workers_generation_is_refused(tokenizer):
    model, started, tried = tiny_model("gpt2"), threading.Event(), threading.Event()

    class Slow:
        def put(self, value):
            started.set()
            tried.wait(30)

        def end(self):
            pass

    with steer(model, some_vector(), positions="new"):
        options = {"temperature": 0, "max_new_tokens": 3, "streamer": Slow()}
        thread = threading.Thread(target=lambda: generate(model, tokenizer, "I am", **options))
        thread.start()
        assert started.wait(30)
        with pytest.raises(RuntimeError, match="another thread runs this model while it is steered"):
            logits(model, IDS)
        tried.set()
        thread.join()
