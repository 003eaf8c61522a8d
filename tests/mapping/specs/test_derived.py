"""Plans through architectures that transformers' classes imply, held against those of hand-written specs."""

from recorded_plans import digest, planned, recorded


def test_pairs_are_planned_as_when_every_format_had_a_spec() -> None:
    for pair, expected in recorded().items():
        assert digest(planned(*pair)) == expected, pair
