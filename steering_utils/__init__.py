"""Steering vectors for decoder models: read activations, find a direction, add it, measure what it did.

>>> from steering_utils import capture, generate, load_model, mean_difference, steer
"""

from .activations import Activations, capture, residual_norms
from .baking import bake, save_baked, unbake
from .blocks import decoder_blocks, set_decoder_blocks
from .controls import random_directions, shuffled_labels, split_half_cosine
from .data import (
    DEV_PROMPTS,
    DOMAINS,
    FACTUAL_PROMPTS,
    HELD_OUT_NEGATIVE,
    HELD_OUT_POSITIVE,
    HELD_OUT_PROMPTS,
    LABELLED_TEXTS,
    NEGATION_PAIRS,
    NEGATIVE_WORDS,
    NEUTRAL_TEXTS,
    PAST_WORDS,
    POSITIVE_WORDS,
    PRESENT_WORDS,
    SENTIMENT_PAIRS,
    TENSE_PAIRS,
    TENSE_PROMPTS,
    contrastive_pairs,
)
from .generation import generate
from .judge import EmbeddingJudge, embed
from .metrics import (
    alpha_for,
    bootstrap_interval,
    continuation_nll,
    distinct_ngrams,
    logit_difference,
    next_token_kl,
    next_token_logits,
    off_target_ratio,
    relative_strength,
    sentiment,
    steerability,
)
from .models import describe, load_model
from .operations import ablate, add, add_and_keep_norm, set_projection
from .plots import plot_by_layer, plot_classes, plot_dose_response, plot_token_scores
from .slider import AlphaSlider, Slider
from .steering import steer
from .sweeps import sweep
from .tables import html_table
from .tokens import encode, single_token_ids, token_table
from .vectors import SteeringVector, cosine, mean_difference

__version__ = "0.1.0"
