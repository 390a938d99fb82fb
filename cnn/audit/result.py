"""What an audit returns: a row for each tensor, and the same as text, JSON and HTML."""

from dataclasses import dataclass
from typing import Any, NamedTuple


class Row(NamedTuple):
    """How one tensor decays.

    Attributes
    ----------
    name : str
        In the model; of a shared tensor the first name.
    role : str
        conv, linear, BN gamma, BN beta, norm, embedding, head, bias or other.
    rule : str
        ``"L2 inside the update"``, ``"decay coupled to lr"`` (theta *= 1 - lr * weight_decay),
        ``"fully decoupled"``, ``"none"`` or ``"unknown"``.
    shrink : float
        Share of theta that a step takes without gradient, at the present learning rate. Under L2
        in an adaptive rule, where it changes: the average until theta has halved, from the
        tensor's rms. Negative where theta grows.
    half_life_steps, half_life_epochs : float
        Until theta has halved without gradient, under the schedule. Infinite if it never does.
    sigma_lost : float
        Standard deviation of the gradient below which noise does not hold a parameter above the
        threshold: it is lost, if the run is long enough. 0 where nothing decays.
    warnings : tuple of str
        Sentences.

    NaN stands for what is not known.
    """

    name: str
    role: str
    rule: str
    shrink: float
    half_life_steps: float
    half_life_epochs: float
    sigma_lost: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """The rows of an audit, and what it says of the whole.

    Attributes
    ----------
    optimizer : str
        Name of the optimizer's class.
    rows : tuple of Row
        In the order of the model.
    steps : int or None
        Length of the run, from now.
    steps_per_epoch : int or None
    sigma : float
        Standard deviation of the gradient that adaptive rules under L2 were given.
    threshold : float
        Below it a parameter counts as lost.
    notes : tuple of str
        Sentences about the optimizer as a whole.
    advice : str
        Decay on or off for the normalisations.
    """

    optimizer: str
    rows: tuple[Row, ...]
    steps: int | None
    steps_per_epoch: int | None
    sigma: float
    threshold: float
    notes: tuple[str, ...]
    advice: str

    def __str__(self) -> str:
        """The table as text."""
        return self.text()

    def text(self, width: int = 110) -> str:
        """A table, the warnings below it by number, and the advice."""
        from cnn.audit.views import text

        return text(self, width)

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionaries for JSON; None for what is infinite or not known."""
        from cnn.audit.views import plain

        return plain(self)

    def json(self) -> str:
        """`to_dict` as JSON."""
        import json

        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)

    def html(self) -> str:
        """A page that needs no network and no script."""
        from cnn.audit.page import html

        return html(self)
