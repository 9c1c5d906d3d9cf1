"""Steering vectors for decoder models: read activations, find a direction, add it, measure what it did.

>>> from steering_utils import capture, generate, load_model, mean_difference, steer

The core is in this folder; what the book's pages need beside it (texts, judges, plans, plots, sliders, the
exercises' checks) is in `steering_utils.pages`, which nothing here imports.
"""

from . import baking, exchange, operations, positions
from .activations import Activations, capture
from .blocks import decoder_blocks, set_decoder_blocks
from .generation import generate
from .loading import describe, load_model
from .measuring import continuation_kl, continuation_nll, logit_difference, next_token_kl, next_token_logits
from .methods import label_flips, mean_difference, random_directions
from .steering import steer
from .strength import in_stream_units, relative_strength, residual_norms
from .tokens import single_token_ids, token_positions
from .vectors import SteeringVector, cosine

__version__ = "0.1.0"
