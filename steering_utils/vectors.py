"""Steering vectors: what they are, how they are found, combined, saved and loaded."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .activations import Activations
from .blocks import as_int
from .models import same_model

FORMAT = "steering_utils.SteeringVector"


@dataclass(frozen=True, eq=False)
class SteeringVector:
    """A direction in the residual stream, with the place it belongs to.

    Attributes:
        values: tensor (d_model,), float32, in the units of the residual stream.
        layer: the decoder block to whose output it belongs.
        model: the model's name; empty if unknown.
        method: how it was found.
        provenance: what else is known, as JSON keeps it: revision, prompts, library versions.

    Raises:
        TypeError: `values` is not a floating-point tensor, `layer` not an int, or the rest not text and a
            dict that JSON can keep.
        ValueError: `values` is not one-dimensional, or has NaN or inf in it.
    """

    values: torch.Tensor
    layer: int
    model: str = ""
    method: str = ""
    provenance: dict = field(default_factory=dict)

    def __post_init__(self):
        v = self.values
        if not isinstance(v, torch.Tensor) or not v.is_floating_point():
            kind = v.dtype if isinstance(v, torch.Tensor) else type(v).__name__
            raise TypeError(f"values must be a floating-point tensor, got {kind}: convert it first")
        if v.ndim != 1 or not len(v):
            raise ValueError(f"values must have shape (d_model,), got {tuple(v.shape)}")
        if bad := int((~torch.isfinite(v)).sum()):
            raise ValueError(f"the vector has {bad} NaN or inf values: look for them in its activations")
        for name, kind in (("model", str), ("method", str), ("provenance", dict)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be a {kind.__name__}, got {getattr(self, name)!r}")
        plain = v.detach().to("cpu", torch.float32).as_subclass(torch.Tensor).clone()
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        provenance = json.loads(json.dumps(versions | self.provenance))  # a copy, and what a file gives back
        for name, value in (("values", plain), ("layer", as_int(self.layer)), ("provenance", provenance)):
            object.__setattr__(self, name, value)

    def __reduce__(self):
        # as an array: joblib's hash of a tensor is another one in each process, and a cache would never hit
        return _from_array, (self.values.numpy(), self.layer, self.model, self.method, self.provenance)

    @property
    def norm(self) -> float:
        """The Euclidean length of `values`."""
        return float(self.values.double().norm())  # whose squares float32 may not hold

    def __mul__(self, factor: float) -> "SteeringVector":
        return replace(self, values=self.values * factor)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "SteeringVector":
        return replace(self, values=self.values / divisor)

    def __neg__(self) -> "SteeringVector":
        return self * -1.0

    def __add__(self, other: "SteeringVector") -> "SteeringVector":
        return self._with(other, self.values + self._values_of(other), "+")

    def __sub__(self, other: "SteeringVector") -> "SteeringVector":
        return self._with(other, self.values - self._values_of(other), "-")

    def normalized(self) -> "SteeringVector":
        """The same direction with norm 1.

        Raises:
            ValueError: the vector is zero.
        """
        if not self.norm:
            raise ValueError(f"{self} is zero: it has no direction")
        return self / self.norm

    def project_out(self, other: "SteeringVector") -> "SteeringVector":
        """What is left of it at right angles to `other`: v - u (u . v), with u the direction of `other`.

        Raises:
            TypeError: not a SteeringVector.
            ValueError: another layer, model or width, or `other` is zero.
        """
        self._values_of(other)
        u = other.normalized().values
        return self._with(other, self.values - u * (u @ self.values), "without its part along")

    def _values_of(self, other) -> torch.Tensor:
        """The values of `other`, if the two belong to one place."""
        if not isinstance(other, SteeringVector):
            raise TypeError(f"expected a SteeringVector, got {type(other).__name__}")
        if self.layer != other.layer or not same_model(self.model, other.model):
            raise ValueError(
                f"{self} and {other} belong to different places: combine vectors of one layer of one model"
            )
        if self.values.shape != other.values.shape:
            raise ValueError(f"{self} and {other} have different widths: they are of different models")
        return other.values

    def _with(self, other, values, how) -> "SteeringVector":
        """`values` made of both, with a record of both."""
        method = f"({self.method or 'unknown'}) {how} ({other.method or 'unknown'})"
        provenance = {"made_of": [self.provenance, other.provenance]}
        return replace(
            self, values=values, model=self.model or other.model, method=method, provenance=provenance
        )

    def __repr__(self):
        return (
            f"SteeringVector(layer={self.layer}, d_model={len(self.values)}, norm={self.norm:.3f}, "
            f"method={self.method!r}, model={self.model!r})"
        )

    def save(self, path):
        """Write a safetensors file: the values, and everything else as its metadata, with a checksum."""
        about = {name: getattr(self, name) for name in ("layer", "model", "method", "provenance")}
        about = json.dumps(about)
        metadata = {"format": FORMAT, "about": about, "sha256": _checksum(self.values, about)}
        save_file({"values": self.values}, path, metadata)

    @classmethod
    def load(cls, path) -> "SteeringVector":
        """Read what `save` wrote. Nothing is unpickled.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a file that `save` wrote, or one that was changed or damaged since.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no file {str(path)!r}: save a vector there first")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise ValueError("it was not written by SteeringVector.save")
                values = file.get_tensor("values")
                if metadata["sha256"] != _checksum(values, metadata["about"]):
                    raise ValueError("its checksum is wrong, so it was changed or damaged after it was saved")
                return cls(values, **json.loads(metadata["about"]))
        except (SafetensorError, ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{str(path)!r} is not a saved steering vector: {error}") from error


def _from_array(values, *rest) -> SteeringVector:
    return SteeringVector(torch.from_numpy(values), *rest)


def _checksum(values, about: str) -> str:
    """SHA-256 over the bytes of `values` and the text about them: shows a change, not who made it."""
    return hashlib.sha256(values.numpy().tobytes() + about.encode()).hexdigest()


def mean_difference(positive, negative, layer: int) -> SteeringVector:
    """The mean-difference vector: mean over positive prompts minus mean over negative ones.

    $$ v = \\frac{1}{n_+} \\sum_i h^{(k)}(x_i^+) - \\frac{1}{n_-} \\sum_j h^{(k)}(x_j^-) $$

    Args:
        positive, negative: what `capture` returned for each side,
            (n_prompts, n_layers, d_model); plain tensors must hold all layers.
        layer: the layer k to take it at.

    Returns:
        A SteeringVector with values (d_model,).

    Raises:
        TypeError: not tensors, or `layer` not an int.
        ValueError: no prompts, NaN or inf, different models, layers or widths, or `layer` was not captured.

    Source:
        Rimsky et al., arXiv 2312.06681; for single pairs Turner et al., arXiv 2308.10248.
    """
    sides = states_at(positive, negative, layer)
    provenance = {"n_positive": len(positive), "n_negative": len(negative)}
    if isinstance(positive, Activations) and isinstance(negative, Activations):
        provenance |= positive.source | {"positive": positive.prompts, "negative": negative.prompts}
    name = provenance.pop("model", "")
    difference = sides[0].mean(0) - sides[1].mean(0)
    return SteeringVector(difference, layer, name, "mean difference", provenance)


def states_at(positive, negative, layer: int) -> list[torch.Tensor]:
    """Both sides at one layer, (n_prompts, d_model) in float32; takes and raises as `mean_difference`."""
    for name, side in (("positive", positive), ("negative", negative)):
        if not isinstance(side, torch.Tensor):
            raise TypeError(f"{name} must be a tensor as capture() returns it, got {type(side).__name__}")
        if side.ndim != 3 or not len(side):
            raise ValueError(
                f"{name} must be (n_prompts, n_layers, d_model), and not empty; got {_about(side)}"
            )
    known = [side for side in (positive, negative) if isinstance(side, Activations)]
    apart = len(known) == 2 and (positive.layers, positive.source) != (negative.layers, negative.source)
    if apart or positive.shape[1:] != negative.shape[1:]:
        raise ValueError(
            f"positive is {_about(positive)}, negative {_about(negative)}: "
            "capture both from one model at the same layers"
        )
    layers = known[0].layers if known else range(positive.shape[1])
    if (layer := as_int(layer)) not in layers:
        raise ValueError(f"layer {layer} was not captured: choose one of {list(layers)}")
    return [side[:, layers.index(layer)].float() for side in (positive, negative)]


def _about(side) -> str:
    """The shape of activations and, if they know it, where they come from."""
    where = f" at layers {list(side.layers)} of {side.source}" if isinstance(side, Activations) else ""
    return f"{tuple(side.shape)}{where}"


def cosine(a, b) -> float:
    """The cosine between two vectors or tensors (d_model,): 1 the same way, 0 at right angles.

    Raises:
        ValueError: not two one-dimensional tensors of one width, or steering vectors of different layers or
            models; to compare layers all the same, give their `values`.
    """
    if isinstance(a, SteeringVector) and isinstance(b, SteeringVector):
        a._values_of(b)
    a, b = ((x.values if isinstance(x, SteeringVector) else x).cpu().double() for x in (a, b))
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"got shapes {tuple(a.shape)} and {tuple(b.shape)}: both must be (d_model,)")
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0, eps=1e-300))
