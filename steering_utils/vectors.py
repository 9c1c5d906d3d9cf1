"""Steering vectors as values: a direction, the place it belongs to, and how it came about."""

import json

import torch
import transformers

from .blocks import as_int, check_layer, width
from .identity import identity, same_model

FIELDS = ("values", "layer", "model", "method", "provenance")
MOST_PARTS = 16  # of a combination that its provenance names


class SteeringVector:
    """A direction in the residual stream, with the place it belongs to. A value: nothing changes it.

    Attributes:
        values: tensor (d_model,), float32, in the units of the residual stream; a copy at each access.
        layer: the decoder block to whose output it belongs.
        model: the model's name; empty if unknown.
        method: how it was found.
        provenance: what else is known, as JSON keeps it: revision, prompts, library versions; a copy, too.

    Raises:
        TypeError: `values` is not a floating-point tensor, `layer` not an int, or the rest not text and a
            dict that JSON can keep.
        ValueError: `values` is not one-dimensional, or has NaN or inf in it.

    Example:
        >>> 2 * SteeringVector(torch.tensor([3.0, 4.0]), layer=6)
        SteeringVector(layer=6, d_model=2, norm=10.000, method='', model='')
    """

    __slots__ = ("__weakref__", "_provenance", "_values", "layer", "method", "model")

    def __init__(self, values, layer, model="", method="", provenance=None):
        if not isinstance(values, torch.Tensor) or not values.is_floating_point():
            raise TypeError(f"values must be a tensor of floats, got {getattr(values, 'dtype', values)!r}")
        if values.ndim != 1 or not len(values):
            raise ValueError(f"values must have shape (d_model,), got {tuple(values.shape)}")
        if bad := int((~torch.isfinite(values)).sum()):
            raise ValueError(f"the vector has {bad} NaN or inf values: look for them in its activations")
        if not (isinstance(model, str) and isinstance(method, str) and isinstance(provenance, dict | None)):
            raise TypeError(f"give text, text and a dict, not {(model, method, provenance)}")
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        own = values.detach().to("cpu", torch.float32).as_subclass(torch.Tensor).clone()
        parts = {"_values": own, "layer": as_int(layer), "model": model, "method": method}
        parts["_provenance"] = json.dumps(versions | (provenance or {}))  # what a file would give back
        for name, value in parts.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name, value=None):
        raise AttributeError(f"a SteeringVector does not change: make another, with .replaced({name}=…)")

    __delattr__ = __setattr__

    @property
    def values(self) -> torch.Tensor:
        """The numbers, (d_model,): a copy, so that nobody changes the vector in place."""
        return self._values.clone()

    @property
    def provenance(self) -> dict:
        """What else is known of it: a copy."""
        return json.loads(self._provenance)

    @property
    def norm(self) -> float:
        """The Euclidean length of `values`."""
        return float(self._values.double().norm())  # whose squares float32 may not hold

    def replaced(self, **changes) -> "SteeringVector":
        """The same with other `values`, `layer`, `model`, `method` or `provenance`."""
        return SteeringVector(**{name: getattr(self, name) for name in FIELDS} | changes)

    def __reduce__(self):
        return SteeringVector, tuple(getattr(self, name) for name in FIELDS)

    def __repr__(self):
        numbers = f"layer={self.layer}, d_model={len(self._values)}, norm={self.norm:.3f}"
        return f"SteeringVector({numbers}, method={self.method!r}, model={self.model!r})"

    def __mul__(self, factor: float) -> "SteeringVector":
        return self.replaced(values=self._values * factor)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "SteeringVector":
        return self.replaced(values=self._values / divisor)

    def __neg__(self) -> "SteeringVector":
        return self * -1.0

    def __add__(self, other: "SteeringVector") -> "SteeringVector":
        return self._with(other, self._values + self._values_of(other), "sum of vectors")

    def __radd__(self, other) -> "SteeringVector":
        return self if isinstance(other, int) and other == 0 else NotImplemented  # where sum() begins

    def __sub__(self, other: "SteeringVector") -> "SteeringVector":
        return self._with(other, self._values - self._values_of(other), "difference of vectors")

    def project_out(self, other: "SteeringVector") -> "SteeringVector":
        """What is left of it at right angles to `other`: v - u (u . v), with u the direction of `other`.

        Raises:
            TypeError: not a SteeringVector.
            ValueError: another layer, model or width, or `other` is zero.
        """
        values = self._values_of(other)
        if not other.norm:
            raise ValueError(f"{other} is zero: it has no direction to project out")
        u = values / other.norm
        return self._with(other, self._values - u * (u @ self._values), "vector with another projected out")

    def check_place(self, model):
        """Refuse with a ValueError a model without this vector's layer, or of another width."""
        check_layer(model, self.layer)
        if (n := len(self._values)) != (wide := width(model)):
            raise ValueError(f"the vector is {n} wide, the stream {wide}: extract one from this model")

    def carried_to(self, model) -> "SteeringVector":
        """The same vector for another model, such as a fine-tune of its own: what `steer` would refuse.

        A direction of one model means nothing in an unrelated one; measure whether it still does its work.

        Raises:
            ValueError: the model does not have the layer, or has another width.
        """
        self.check_place(model)
        new = identity(model)
        history = self.provenance | {"revision": new["revision"], "carried_from": self.model}
        return self.replaced(model=new["model"], provenance=history)

    def _values_of(self, other) -> torch.Tensor:
        """The values of `other`, if the two belong to one place."""
        if not isinstance(other, SteeringVector):
            raise TypeError(f"expected a SteeringVector, got {type(other).__name__}")
        wide = len(self._values), len(other._values)
        if self.layer != other.layer or not same_model(self.model, other.model) or wide[0] != wide[1]:
            raise ValueError(f"{self} and {other} are not of one layer of one model: make nothing of both")
        return other._values

    def _with(self, other, values, method) -> "SteeringVector":
        """`values` made of both, with a flat record of what went into them."""
        parts = []
        for vector in (self, other):
            parts += vector.provenance.get("made_of") or [{"method": vector.method} | vector.provenance]
        parts = [part for i, part in enumerate(parts) if part not in parts[:i]]
        if len(parts) > MOST_PARTS:
            parts[MOST_PARTS - 1 :] = [{"method": "and others"}]
        name = self.model or other.model
        return self.replaced(values=values, model=name, method=method, provenance={"made_of": parts})


torch.serialization.add_safe_globals([SteeringVector])  # so that torch.load takes one with weights_only


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
