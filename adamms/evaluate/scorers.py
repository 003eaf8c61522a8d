"""Scores of answers against reference answers. The only place that labels reach."""

from collections.abc import Mapping

from adamms.errors import AdammsError


class ExactAccuracy:
    """Percentage of answers equal to the reference, leaving aside case, outer space and a final stop."""

    unit = "%"

    def __call__(self, answers: Mapping[str, str], references: Mapping[str, str]) -> float:
        """In [0, 100], over the examples that have a reference.

        Raises:
            AdammsError: a reference whose example has no answer, or no references.
        """
        if not references:
            raise AdammsError("accuracy needs at least one reference answer")
        missing = [example for example in references if example not in answers]
        if missing:
            raise AdammsError(f"no answer to the example {missing[0]!r}")
        right = sum(_plain(answers[example]) == _plain(truth) for example, truth in references.items())
        return 100 * right / len(references)


def _plain(text: str) -> str:
    return text.strip().removesuffix(".").strip().casefold()
