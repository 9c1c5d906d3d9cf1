"""One model by many paths is one model; another is refused, and `carried_to` says when it is not."""

import copy
import json

import pytest
import torch
from by_hand import changed, logits
from conftest import PROMPTS, SMALL, some_vector, tiny_model
from transformers import AutoConfig, AutoModelForCausalLM

from steering_utils import (
    SteeringVector,
    capture,
    cosine,
    describe,
    exchange,
    load_model,
    mean_difference,
    steer,
)
from steering_utils.identity import identity, same_model

IDS = torch.tensor([[464, 6193, 287]])
COMMIT = "607a30d783dfa663caf39e06633721c8d4cfcd7e"
CACHE = f"/home/me/.cache/huggingface/hub/models--openai-community--gpt2/snapshots/{COMMIT}"
SAME = [  # names of one model
    "openai-community/gpt2",
    "gpt2",
    CACHE,
    CACHE + "/",
    CACHE.replace("/", "\\"),
    f"models--gpt2/snapshots/{COMMIT}",
    "models/gpt2",
    "./gpt2",
    "/data/models/gpt2/",
    "/data/models/gpt2//",
    r"C:\Users\me\models\gpt2",
    "C:\\Users\\me\\models\\gpt2\\",
    "C:/Users/me/models/gpt2",
]
OTHERS = ["gpt2-medium", "openai-community/gpt2-xl", "/data/gpt2/checkpoint-500", "gpt", "distilgpt2"]


@pytest.fixture
def named():
    """A tiny model that can be given names."""
    model = tiny_model("gpt2")

    def named(name, revision=""):
        model.name_or_path, model.revision = name, revision
        return model

    return named


@pytest.mark.parametrize("ours", SAME)
def test_one_model_by_any_path(named, ours):
    vector = SteeringVector(torch.ones(32), 1, model=ours)
    for theirs in SAME:
        assert same_model(ours, theirs) and same_model(theirs, ours)
        with steer(named(theirs), vector):
            logits(named(theirs), IDS)
        other = SteeringVector(torch.ones(32), 1, model=identity(named(theirs))["model"])
        assert (vector + other).norm == pytest.approx(2 * vector.norm)
        assert cosine(vector, other) == pytest.approx(1)


@pytest.mark.parametrize("theirs", OTHERS)
def test_another_model_is_refused_by_name(named, theirs):
    for ours in SAME:
        assert not same_model(ours, theirs)
        with pytest.raises(
            ValueError, match=r"the vector is from .*gpt2.*, the model is .*carried_to\(model\)"
        ):
            steer(named(theirs), SteeringVector(torch.ones(32), 1, model=ours))


def test_an_unknown_name_fits_all(named):
    with steer(named("a/b"), SteeringVector(torch.ones(32), 1)):
        pass
    with steer(named(""), SteeringVector(torch.ones(32), 1, model="a/b")):
        pass


@pytest.mark.parametrize("path", [CACHE, CACHE + "/", CACHE.replace("/", "\\")])
def test_a_snapshot_of_the_hubs_cache_has_the_models_name_and_commit(named, path):
    assert identity(named(path)) == {"model": "openai-community/gpt2", "revision": COMMIT}
    assert COMMIT[:20] in describe(named(path)) and "openai-community/gpt2" in describe(named(path))


def test_a_folder_inside_a_snapshot_is_a_model_of_its_own(named):
    """A repository may hold several, one a folder."""
    assert not same_model(CACHE + "/large", CACHE + "/small")
    assert identity(named(CACHE + "/large"))["model"] != identity(named(CACHE + "/small"))["model"]
    vector = SteeringVector(torch.ones(32), 1, identity(named(CACHE + "/large"))["model"])
    with pytest.raises(ValueError, match="the vector is from"):
        steer(named(CACHE + "/small"), vector)


def test_both_sides_may_be_read_from_one_model_by_two_paths(named, tokenizer):
    for a, b in ((CACHE, CACHE + "/"), ("models/gpt2", "models/gpt2/"), ("models/gpt2", "./models/gpt2")):
        positive = capture(named(a), tokenizer, PROMPTS[:2])
        negative = capture(named(b), tokenizer, PROMPTS[2:])
        assert same_model(mean_difference(positive, negative, 1).model, "gpt2")
    with pytest.raises(ValueError, match="capture both from one model"):
        mean_difference(positive, capture(named("gpt2-medium"), tokenizer, PROMPTS), 1)


def test_really_loaded_by_several_paths(tokenizer, tmp_path, monkeypatch):
    """From a folder with and without a slash, a relative one, and a snapshot as in the hub's cache."""
    model = tiny_model("gpt2")
    plain = tmp_path / "tiny"
    snapshot = tmp_path / "hub" / "models--someone--tiny" / "snapshots" / "0123abc"
    for folder in (plain, snapshot):
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    monkeypatch.chdir(tmp_path)
    paths = [str(plain), f"{plain}/", "tiny", "./tiny/", plain, snapshot, f"{snapshot}/"]
    loaded = [load_model(path, device="cpu")[0] for path in paths]
    loaded.append(AutoModelForCausalLM.from_pretrained(snapshot).eval())  # by transformers alone
    for one in loaded:
        sides = capture(one, tokenizer, PROMPTS[:2]), capture(one, tokenizer, PROMPTS[2:])
        vector = mean_difference(*sides, 1)
        exchange.save(vector, tmp_path / "v.safetensors")
        for other in loaded:
            with steer(other, exchange.load(tmp_path / "v.safetensors")):
                assert changed(logits(other, IDS), logits(model, IDS))
    for one in (loaded[5], loaded[6], loaded[7]):
        assert identity(one) == {"model": "someone/tiny", "revision": "0123abc"}


# --- carried over --------------------------------------------------------------------------------


def test_a_fine_tune_of_the_same_shape_takes_what_is_carried_over(named):
    values = some_vector().values  # not ones, which GPT-2's norms take out
    vector = SteeringVector(values, 1, "someone/base", "mean difference", {"revision": "abc", "n": 3})
    tuned = named("someone/tuned", "def")
    with pytest.raises(ValueError, match=r"use vector\.carried_to\(model\)"):
        steer(tuned, vector)
    carried = vector.carried_to(tuned)
    with steer(tuned, carried):
        assert changed(logits(tuned, IDS), logits(tiny_model("gpt2"), IDS))
    assert torch.equal(carried.values, vector.values)
    assert (carried.layer, carried.model, carried.method) == (1, "someone/tuned", "mean difference")
    assert carried.provenance["carried_from"] == "someone/base" and carried.provenance["n"] == 3
    assert carried.provenance["revision"] == "def"
    assert (vector.model, vector.provenance["revision"]) == ("someone/base", "abc")  # as it was
    assert json.dumps(carried.provenance)


def test_another_width_or_depth_takes_nothing(named):
    tuned = named("someone/tuned")
    with pytest.raises(ValueError, match=r"the vector is .* wide, the stream 32"):
        some_vector(width=31).carried_to(tuned)
    with pytest.raises(ValueError, match="layer 4 does not exist: this model's layers are 0 to 3"):
        some_vector(layer=4).carried_to(tuned)
    torch.manual_seed(0)
    shallow = AutoConfig.for_model("gpt2", **SMALL | {"num_hidden_layers": 2})
    with pytest.raises(ValueError, match="layer 3 does not exist: this model's layers are 0 to 1"):
        some_vector(layer=3).carried_to(AutoModelForCausalLM.from_config(shallow))


def test_an_adapter_makes_another_model(named):
    model = copy.deepcopy(named("someone/base"))
    model.peft_config, model.active_adapters = {"mine": object()}, ["mine"]
    assert identity(model)["model"] == "someone/base + mine"
    with pytest.raises(ValueError, match=r"from 'someone/base', the model is 'someone/base \+ mine'"):
        steer(model, SteeringVector(torch.ones(32), 1, "someone/base"))
    with steer(model, SteeringVector(torch.ones(32), 1, "someone/base").carried_to(model)):
        pass
