"""What is kept of the prepared inputs is bounded in bytes, and the same batches are found again."""

import torch

from adamms.data.example import Example
from adamms.engines.transformers.kept_inputs import Batch, KeptInputs

BATCHES = [(Example(str(i), "t", "q"),) for i in range(4)]


def test_no_more_is_kept_than_there_is_room_for_and_the_rest_is_prepared_again() -> None:
    prepared = []

    def prepare(batch: Batch) -> dict[str, torch.Tensor]:
        prepared.append(batch[0].id)
        return {"input_ids": torch.zeros(100, dtype=torch.uint8)}

    kept = KeptInputs(room=250)
    for _ in range(3):
        kept.keep_only(BATCHES)
        for batch in BATCHES:
            assert kept.get(batch, prepare)["input_ids"].shape == (100,)
            assert kept.nbytes <= 250
    assert prepared == ["0", "1", "2", "3", "2", "3", "2", "3"]
    kept.keep_only(BATCHES[2:])
    assert kept.nbytes == 0
    kept.get(BATCHES[2], prepare)
    assert kept.nbytes == 100


def test_without_room_nothing_is_kept() -> None:
    kept = KeptInputs(room=0)
    kept.get(BATCHES[0], lambda _: {"input_ids": torch.zeros(1)})
    assert kept.nbytes == 0
