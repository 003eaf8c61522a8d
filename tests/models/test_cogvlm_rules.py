"""CogVLM's rules one by one: layout, rotation, norm, and the names and shapes of its parameters."""

import json
from pathlib import Path

import native_models as native
import torch

from adamms.models.cogvlm.configuration import CogVLMConfig
from adamms.models.cogvlm.language import CogVLMRMSNorm, rotation
from adamms.models.cogvlm.layout import positions, route, to_vision_expert
from adamms.models.cogvlm.modeling import CogVLMForCausalLM

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "cogvlm_chat_hf.json"


class TestLayout:
    TYPES = torch.tensor([[0, 1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0, 0, 0]])
    MASK = torch.tensor([[1, 1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1, 1, 1]])

    def test_patches_share_a_position_and_markers_do_not(self) -> None:
        assert positions(self.TYPES, self.MASK).tolist() == [
            [0, 1, 2, 2, 2, 3, 4, 5],
            [0, 0, 0, 0, 1, 2, 3, 4],
            [0, 0, 0, 0, 0, 0, 1, 2],
        ]
        assert positions(self.TYPES[:1]).tolist() == positions(self.TYPES[:1], self.MASK[:1]).tolist()

    def test_the_published_prompt_has_1227_image_tokens_and_3_positions_for_them(self) -> None:
        where = positions(torch.tensor([[0, *[1] * 1227, 0, 0]]))[0].tolist()
        assert where == [0, 1, *[2] * 1225, 3, 4, 5]

    def test_begin_marker_and_patches_go_to_the_vision_expert(self) -> None:
        assert to_vision_expert(self.TYPES).int().tolist() == [
            [0, 1, 1, 1, 1, 0, 0, 0],
            [0, 0, 0, 0, 1, 1, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
        ]
        routing = route(self.TYPES)
        assert routing is not None
        assert routing.order[: routing.vision].tolist() == [1, 2, 3, 4, 12, 13]
        assert routing.order[routing.inverse].tolist() == list(range(24))
        assert route(self.TYPES[2:]) is None

    def test_the_rotation_is_float32_in_bfloat16_too(self) -> None:
        cosine, sine = rotation(torch.tensor([[1601]]), 4)
        exact = torch.tensor([1601.0, 16.01, 1601.0, 16.01], dtype=torch.float64)
        assert cosine.dtype == sine.dtype == torch.float32
        # 1601 x 2^-24 is what a float32 angle of that size may be off by.
        assert (cosine.flatten() - exact.cos()).abs().max() < 2e-4
        assert (sine.flatten() - exact.sin()).abs().max() < 2e-4


def test_the_norm_is_rounded_once() -> None:
    norm = CogVLMRMSNorm(64, 1e-5).bfloat16()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(64, generator=generator))
        hidden = torch.randn(50, 64, generator=generator).bfloat16()
        exact = norm.weight.double() * hidden.double()
        exact = exact / (hidden.double().square().mean(1, keepdim=True) + 1e-5).sqrt()
        assert torch.equal(norm(hidden), exact.float().bfloat16())


class TestNamesAndShapes:
    def test_equal_the_published_checkpoint_at_full_size(self) -> None:
        published = json.loads(FIXTURE.read_text())
        expected = {
            pattern.replace("{i}", str(layer)): tuple(shape)
            for pattern, count, _, shape in published["tensors"]
            for layer in range(count or 1)
            if not pattern.endswith("inv_freq")
        }
        with torch.device("meta"):
            model = CogVLMForCausalLM(CogVLMConfig(**published["config"]))
        found = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        assert found == expected
        assert len(found) == 1187 - 32
        assert sum(parameter.numel() for parameter in model.parameters()) == 17_639_685_376
        assert not list(model.buffers())

    def test_of_the_tiny_one_are_those_of_the_builder(self, tmp_path: Path) -> None:
        model = CogVLMForCausalLM.from_pretrained(native.save_cogvlm(tmp_path / "model"))
        assert {n: tuple(t.shape) for n, t in model.state_dict().items()} == native.cogvlm_shapes()
