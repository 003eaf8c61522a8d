"""What the weights say of one correspondence, where a plan was found by content. Plain data."""

from dataclasses import dataclass, replace
from typing import Any

# How sure a correspondence is that was found by content, from the best.
GRADES = ("sure", "tied", "unsure", "none")


@dataclass(frozen=True)
class Finding:
    """What the weights say of one target tensor and one other model, where the plan was found by content.

    Args:
        grade: `sure`; `tied`, where several tensors resemble it about equally and the closest was taken;
            `unsure`, more than chance but not clearly one tensor; `none`.
        cosine: with the closest tensor, or the closest composition of parts.
        nearest: its name, or the names of what the parts come from.
        runner_up: cosine with the closest other tensor; None if there is none of its shape.
        rival: that one's name.
        distance: the norm of the difference, over the target's norm; None where nothing was found.
        note: what a person should know beside the numbers.
    """

    grade: str
    cosine: float
    nearest: str = ""
    runner_up: float | None = None
    rival: str = ""
    distance: float | None = None
    note: str = ""

    @property
    def found(self) -> bool:
        return self.grade in ("sure", "tied")

    @property
    def rounded(self) -> "Finding":
        """With numbers as plan.json shows them."""

        def number(value: float | None) -> float | None:
            return None if value is None else round(value, 4)

        cosine, runner_up, distance = round(self.cosine, 4), number(self.runner_up), number(self.distance)
        return replace(self, cosine=cosine, runner_up=runner_up, distance=distance)

    def to_json(self) -> dict[str, Any]:
        numbers = {"cosine": self.cosine, "runner_up": self.runner_up, "distance": self.distance}
        words = {"nearest": self.nearest, "rival": self.rival, "note": self.note}
        return {"grade": self.grade} | numbers | {key: word for key, word in words.items() if word}
