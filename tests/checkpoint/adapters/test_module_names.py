"""Which stored tensor an adapter's module path means."""

import pytest

from adamms.checkpoint.adapters.module_names import StoredModules
from adamms.errors import AdammsError

LANGUAGE = "layers.{}.self_attn.q_proj.weight"
# How the language model's and the vision tower's layers are stored, and how classes have called them.
LLAVA = [
    *(f"language_model.model.{LANGUAGE.format(i)}" for i in range(3)),
    *(f"vision_tower.vision_model.encoder.{LANGUAGE.format(i)}" for i in range(3)),
    *("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"),
    *("multi_modal_projector.linear_1.weight", "multi_modal_projector.linear_1.bias"),
]
ORIGINAL = [
    *(f"model.{LANGUAGE.format(i)}" for i in range(3)),
    *(f"model.vision_tower.vision_tower.vision_model.encoder.{LANGUAGE.format(i)}" for i in range(3)),
    "model.embed_tokens.weight",
]


def test_the_longest_ending_and_then_the_likeness_of_the_rest() -> None:
    for stored, name, expected in [
        (LLAVA, f"model.language_model.{LANGUAGE.format(2)}", f"language_model.model.{LANGUAGE.format(2)}"),
        (LLAVA, f"language_model.model.{LANGUAGE.format(0)}", f"language_model.model.{LANGUAGE.format(0)}"),
        (
            LLAVA,
            f"model.vision_tower.encoder.{LANGUAGE.format(1)}",
            f"vision_tower.vision_model.encoder.{LANGUAGE.format(1)}",
        ),
        (LLAVA, "lm_head.weight", "language_model.lm_head.weight"),
        (LLAVA, "model.language_model.embed_tokens.weight", "language_model.model.embed_tokens.weight"),
        (LLAVA, "model.multi_modal_projector.linear_1.bias", "multi_modal_projector.linear_1.bias"),
        (ORIGINAL, f"model.{LANGUAGE.format(1)}", f"model.{LANGUAGE.format(1)}"),
        (ORIGINAL, f"model.language_model.{LANGUAGE.format(1)}", f"model.{LANGUAGE.format(1)}"),
        (
            ORIGINAL,
            f"model.vision_tower.vision_model.encoder.{LANGUAGE.format(1)}",
            f"model.vision_tower.vision_tower.vision_model.encoder.{LANGUAGE.format(1)}",
        ),
    ]:
        assert StoredModules(stored, "base").find(name) == expected


def test_a_word_or_a_number_that_differs_is_another_module() -> None:
    stored = StoredModules(LLAVA, "base")
    for name in (
        f"model.language_model.{LANGUAGE.format(3)}",
        "model.language_model.layers.0.attn.q_proj.weight",
        f"model.language_model.{LANGUAGE.format(1).replace('layers', 'blocks')}",
        "model.multi_modal_projector.linear_3.weight",
    ):
        with pytest.raises(AdammsError, match=f"base has no tensor for '{name}'"):
            stored.find(name)


def test_two_that_are_equally_near() -> None:
    stored = StoredModules([f"{tower}.{LANGUAGE.format(0)}" for tower in ("left", "right")], "base")
    with pytest.raises(AdammsError, match=r"may be any of 2 tensors of base: left\.layers\.0\..* or right\."):
        stored.find(f"model.{LANGUAGE.format(0)}")


def test_layers_of_one_block_do_not_end_up_in_two() -> None:
    """An adapter of a deeper language model: its layer 2 is not the vision tower's."""
    stored = StoredModules([*LLAVA[:2], *LLAVA[3:]], "base")
    stored.find(f"model.language_model.{LANGUAGE.format(1)}")
    with pytest.raises(AdammsError, match=r"no tensor for 'model\.language_model\.layers\.2\..* beside the"):
        stored.find(f"model.language_model.{LANGUAGE.format(2)}")
