"""What becomes of each option of transformers' `generate`: taken, made here, or refused with what to do."""

import tomllib
from pathlib import Path

import transformers

TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
PENALTIES, WARPERS, TOKENS = TABLE["penalties"], TABLE["warpers"], TABLE["tokens"]
REFUSED = {name: reason for reason, names in TABLE["refused"].items() for name in names.split()}
TAKEN = {*PENALTIES, *WARPERS, *TOKENS, *TABLE["ours"], *TABLE["passed"].split()}
UNSET = vars(transformers.GenerationConfig())
NEUTRAL = {"max_length": None, "num_beams": 1, "num_return_sequences": 1, "use_cache": True}  # None in 5.x


def requested(options, **arguments) -> dict:
    """What `generate` is asked for, by name: its arguments and its options.

    Raises:
        ValueError: an option is refused, or options contradict each other; the message says what to do.
    """
    asked = arguments | {k: v for k, v in options.items() if v is not None or k == "eos_token_id"}
    for name, value in asked.items():
        reason = REFUSED.get(name) or REFUSED.get(f"{name}={value}")
        if reason and value is not False:
            raise ValueError(f"{name} is refused: {reason}")
        if name in TAKEN and name not in UNSET:
            raise ValueError(f"transformers {transformers.__version__} has no option {name}: leave it out")
        if name in UNSET and name not in TAKEN | REFUSED.keys():  # other names are arguments of `generate`
            raise ValueError(f"{name} is not in steering_utils/options.toml yet: leave it out")
    sample = asked.pop("do_sample", None)
    beams, copies = asked.get("num_beams", 1), asked.get("num_return_sequences", 1)
    if not 0 <= asked["temperature"] < float("inf"):
        raise ValueError(f"temperature must be 0 (greedy) or more, got {asked['temperature']!r}")
    if sample and asked["temperature"] == 0:
        raise ValueError("do_sample=True contradicts temperature=0: leave one of them out")
    asked["temperature"] = 0.0 if sample is False else float(asked["temperature"])
    if asked["temperature"] and beams > 1:
        raise ValueError("num_beams is refused while sampling: give temperature=0 too, or leave it out")
    if not 1 <= copies <= (copies if asked["temperature"] else beams):
        raise ValueError(f"num_return_sequences={copies} needs a temperature above 0, or as many num_beams")
    return asked


def neutral(model) -> dict:
    """What has to be said so that of the model's own generation_config only the token ids count."""
    own = vars(model.generation_config)
    names = [k for k, v in UNSET.items() if k[0] != "_" and k not in TOKENS and own.get(k, v) != v]
    return {k: NEUTRAL.get(k, UNSET[k]) for k in names}
