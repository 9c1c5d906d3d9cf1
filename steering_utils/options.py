"""What becomes of each option of transformers' `generate`: taken, made here, or refused with what to do."""

import transformers

# Every field of GenerationConfig, from 4.57 to 5.23, stands in one of these tables; a test sees to it.
PENALTIES = {"repetition_penalty": "RepetitionPenalty", "no_repeat_ngram_size": "NoRepeatNGram"}
WARPERS = {"temperature": "Temperature", "top_h": "TopH", "top_k": "TopK", "top_p": "TopP", "min_p": "MinP"}
WARPERS |= {
    "typical_p": "Typical",
    "epsilon_cutoff": "Epsilon",
    "eta_cutoff": "Eta",
}  # in transformers' order
TOKENS = ["bos_token_id", "eos_token_id", "pad_token_id"]  # all that counts of the model's own settings
HERE = ["max_new_tokens", "min_new_tokens", "num_return_sequences", "do_sample", "stop_strings"]
PASSED = """
    num_beams early_stopping length_penalty use_cache cache_implementation cache_config max_cache_len max_time
    return_dict_in_generate output_attentions output_hidden_states output_logits output_scores
    return_legacy_cache bad_words_ids sequence_bias suppress_tokens begin_suppress_tokens forced_eos_token_id
    exponential_decay_length_penalty renormalize_logits prompt_lookup_num_tokens max_matching_ngram_size
    compile_config disable_compile
"""
REFUSED = {  # with what is no field of it
    "max_length min_length": "it counts the padded prompt: give max_new_tokens or min_new_tokens",
    "forced_bos_token_id token_healing prefill_chunk_size": "it goes by the padded prompt: leave it out",
    "inputs input_ids inputs_embeds attention_mask position_ids": "give prompts, as text or token ids",
    "past_key_values": "other steering may be in it: leave it out, and give whole prompts",
    "guidance_scale negative_prompt_ids negative_prompt_attention_mask": "it runs other text: leave it out",
    "encoder_repetition_penalty encoder_no_repeat_ngram_size": "there is no encoder: leave off 'encoder_'",
    "remove_invalid_values": "it makes text of logits that are not finite: leave it out",
    "watermarking_config": "it would come after the noise: give its processor in logits_processor",
    "constraints force_words_ids": "transformers has no code for it: give sequence_bias",
    "num_beam_groups diversity_penalty": "transformers has no code for it: give num_beams and temperature=0",
    "penalty_alpha dola_layers low_memory": "transformers has no code for it: give repetition_penalty",
    "use_mtp speculation_type assistant_early_exit": "it runs parts of the model: give assistant_model",
    "assistant_ensemble_weight": "the assistant would write part of the text: leave it out",
    """num_assistant_tokens num_assistant_tokens_schedule assistant_confidence_threshold assistant_lookbehind
    target_lookbehind""": "transformers does not read it here: set it in assistant_model.generation_config",
    "use_model_defaults": "none of them count: give generation_config=model.generation_config",
    "continuous_batching_config cache_implementation=paged": "it samples without seeds: leave it out",
    "custom_generate trust_remote_code is_assistant decoder_start_token_id": "it has no use: leave it out",
}
REFUSED = {name: reason for names, reason in REFUSED.items() for name in names.split()}
TAKEN = {*PENALTIES, *WARPERS, *TOKENS, *HERE, *PASSED.split()}
UNSET = vars(transformers.GenerationConfig())
NEUTRAL = {"max_length": None, "num_beams": 1, "num_return_sequences": 1, "use_cache": True}  # None in 5.x
DEFAULTS = {"max_new_tokens": 30, "temperature": 1.0, "top_p": 0.95}


def requested(options, **arguments) -> dict:
    """What `generate` is asked for, by name: its arguments, its options, and a generation_config's fields.

    Raises:
        ValueError: an option is refused, or options contradict each other; the message says what to do.
    """
    if (config := options.pop("generation_config", None)) is not None:
        given = {k: v for k, v in arguments.items() if v != DEFAULTS[k]}
        fields = {k: v for k, v in vars(config).items() if k in TAKEN | {*REFUSED} and v != UNSET.get(k)}
        fields |= {"do_sample": None, "max_length": None}  # max_new_tokens goes before max_length
        sample = config.do_sample or options.get("do_sample")
        arguments |= fields | ({} if sample else {"temperature": 0}) | given
    asked = arguments | options
    asked = {k: v for k, v in asked.items() if v is not None or k in {"eos_token_id", *DEFAULTS}}
    for name, value in asked.items():
        reason = REFUSED.get(name) or REFUSED.get(f"{name}={value}")
        if reason and value is not False:
            raise ValueError(f"{name} is refused: {reason}")
        if name not in REFUSED and (name in UNSET) != (name in TAKEN):
            raise ValueError(
                f"{name} and transformers {transformers.__version__} do not go together: leave it out"
            )
    sample, beams = asked.pop("do_sample", None), asked.get("num_beams", 1)
    copies = asked.get("num_return_sequences", 1)
    if not 0 <= asked["temperature"] < float("inf"):
        raise ValueError(f"temperature must be 0 (greedy) or more, got {asked['temperature']!r}")
    if sample and asked["temperature"] == 0:
        raise ValueError("do_sample=True contradicts temperature=0: leave one of them out")
    asked["temperature"] = 0.0 if sample is False else float(asked["temperature"])
    if asked["temperature"] and beams > 1:
        raise ValueError("num_beams is refused while sampling: give temperature=0 too, or leave it out")
    if not 1 <= copies <= (copies if asked["temperature"] else beams):
        raise ValueError(
            f"num_return_sequences={copies} goes with a temperature above 0, or with as many num_beams"
        )
    return asked


def neutral(model) -> dict:
    """What has to be said so that of the model's own generation_config only the token ids count."""
    own = vars(model.generation_config)
    names = [k for k, v in UNSET.items() if k[0] != "_" and k not in TOKENS and own.get(k, v) != v]
    return {k: NEUTRAL.get(k, UNSET[k]) for k in names}
