"""Long float arrays within JSON: base64 of little-endian float32, four thirds of the bytes."""

import base64
import binascii

import numpy as np

from regdyn.checks import shown

__all__ = ["pack", "unpack"]


def pack(array: object) -> dict[str, object]:
    """`array` as a dict that JSON can hold: `shape` and `f32`; NaN and infinities are kept.

    Precision is that of float32. The inverse is `unpack`; in a browser it is `unpack` of page.js.
    """
    values = np.asarray(array, dtype="<f4")
    return {"shape": list(values.shape), "f32": base64.b64encode(values.tobytes()).decode("ascii")}


def unpack(packed: object) -> np.ndarray:
    """The float32 array that `pack` was given, or ValueError: what is no packed array."""
    try:
        shape, text = packed["shape"], packed["f32"]  # type: ignore[index]
        values = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
        if min(shape, default=0) < 0:  # to reshape, -1 would mean "whatever fits"
            raise ValueError
        return values.reshape(shape).astype(np.float32)
    except (TypeError, KeyError, ValueError, binascii.Error):
        raise ValueError(
            'a packed array must be {"shape": [...], "f32": base64 of little-endian float32}, '
            f"not {shown(packed)}."
        ) from None
