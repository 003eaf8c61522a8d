"""CogVLM written a second time, for tests: one example at a time, token by token, in float64.

From the published description (arXiv:2311.03079 and the facts of modeling_cogvlm.py and visual.py) over a
plain state dict; nothing of `adamms.models` is used, nothing is batched, padded or cached.
"""

import math
from collections.abc import Mapping, Sequence

import torch

State = Mapping[str, torch.Tensor]
BEGIN = 1


class Reference:
    """The logits that a CogVLM with this state dict and config.json must give.

    Args:
        state: tensors by published name.
        config: config.json.
    """

    def __init__(self, state: State, config: Mapping[str, object]) -> None:
        self.state = {name: tensor.double() for name, tensor in state.items()}
        self.config = config
        self.known: dict[tuple[object, ...], torch.Tensor] = {}

    def logits(self, text: Sequence[int], pixels: torch.Tensor | None = None) -> torch.Tensor:
        """Of every position of [BOS] [image] text: (length, vocabulary); worked out once."""
        key = (*text, None if pixels is None else pixels.numpy().tobytes())
        if key not in self.known:
            self.known[key] = self.work_out(text, pixels)
        return self.known[key]

    def work_out(self, text: Sequence[int], pixels: torch.Tensor | None) -> torch.Tensor:
        embed = self.state["model.embed_tokens.weight"]
        image = [] if pixels is None else list(self.image(pixels.double()))
        hidden = [embed[BEGIN], *image, *(embed[token] for token in text)]
        image_at = range(1, 1 + len(image))
        # The end marker goes with the text; so does whatever is not of an image.
        experts = [
            "vision" if i in image_at and i + 1 in image_at else "language" for i in range(len(hidden))
        ]
        positions = [0]
        for i in range(1, len(hidden)):
            inner = i in image_at and i not in (image_at[0], image_at[-1])
            positions.append(positions[-1] + (0 if inner and i > image_at[1] else 1))
        for layer in range(int(str(self.config["num_hidden_layers"]))):
            hidden = self.layer(f"model.layers.{layer}.", hidden, experts, positions)
        head, norm = self.state["lm_head.weight"], self.state["model.norm.weight"]
        return torch.stack([head @ self.rms_norm(token, norm) for token in hidden])

    def layer(
        self, name: str, hidden: list[torch.Tensor], experts: list[str], positions: list[int]
    ) -> list[torch.Tensor]:
        heads = int(str(self.config["num_attention_heads"]))
        width = len(hidden[0])
        size = width // heads
        queries, keys, values = [], [], []
        for token, expert, position in zip(hidden, experts, positions, strict=True):
            normed = self.rms_norm(token, self.state[f"{name}input_layernorm.weight"])
            fused = self.state[f"{name}self_attn.{expert}_expert_query_key_value.weight"] @ normed
            queries.append(self.turn(fused[:width].view(heads, size), position))
            keys.append(self.turn(fused[width : 2 * width].view(heads, size), position))
            values.append(fused[2 * width :].view(heads, size))
        out = []
        for i, (token, expert) in enumerate(zip(hidden, experts, strict=True)):
            seen = []
            for head in range(heads):
                scores = torch.stack([queries[i][head] @ keys[j][head] for j in range(i + 1)])
                weights = torch.softmax(scores / math.sqrt(size), 0)
                seen.append(sum(weights[j] * values[j][head] for j in range(i + 1)))
            token = token + self.state[f"{name}self_attn.{expert}_expert_dense.weight"] @ torch.cat(seen)
            normed = self.rms_norm(token, self.state[f"{name}post_attention_layernorm.weight"])
            mlp = f"{name}mlp.{expert}_mlp."
            gate = self.silu(self.state[f"{mlp}gate_proj.weight"] @ normed)
            up = self.state[f"{mlp}up_proj.weight"] @ normed
            out.append(token + self.state[f"{mlp}down_proj.weight"] @ (gate * up))
        return out

    @staticmethod
    def turn(states: torch.Tensor, position: int) -> torch.Tensor:
        """A head's k-th and (k + half)-th number make a complex one, turned by position x frequency."""
        half = states.shape[1] // 2
        frequencies = torch.tensor([10000.0 ** (-k / half) for k in range(half)], dtype=torch.float64)
        turned = torch.complex(states[:, :half], states[:, half:]) * torch.polar(
            torch.ones(half, dtype=torch.float64), position * frequencies
        )
        return torch.cat((turned.real, turned.imag), 1)

    def rms_norm(self, token: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return weight * token / torch.sqrt((token**2).mean() + float(str(self.config["rms_norm_eps"])))

    @staticmethod
    def silu(values: torch.Tensor) -> torch.Tensor:
        return values / (1 + torch.exp(-values))

    @staticmethod
    def gelu(values: torch.Tensor) -> torch.Tensor:
        return values * (1 + torch.erf(values / math.sqrt(2))) / 2

    def image(self, pixels: torch.Tensor) -> torch.Tensor:
        """(3, size, size) -> begin marker, patches, end marker: (patches + 2, hidden size)."""
        settings = self.config["vision_config"]
        assert isinstance(settings, dict)
        patch, heads, eps = settings["patch_size"], settings["num_heads"], settings["layer_norm_eps"]
        start, vision = "model.vision.patch_embedding.", self.state
        tokens = [vision[f"{start}cls_embedding"][0]]
        for top in range(0, pixels.shape[1], patch):
            for left in range(0, pixels.shape[2], patch):
                window = pixels[:, top : top + patch, left : left + patch]
                kernel = vision[f"{start}proj.weight"]
                tokens.append((kernel * window).sum((1, 2, 3)) + vision[f"{start}proj.bias"])
        hidden = torch.stack(tokens) + vision[f"{start}position_embedding.weight"]
        for layer in range(settings["num_hidden_layers"]):
            name = f"model.vision.transformer.layers.{layer}."
            attended = self.vision_attention(f"{name}attention.", hidden, heads)
            hidden = hidden + self.layer_norm(attended, f"{name}input_layernorm", eps)
            inner = self.gelu(self.linear(hidden, f"{name}mlp.fc1"))
            after = self.layer_norm(
                self.linear(inner, f"{name}mlp.fc2"), f"{name}post_attention_layernorm", eps
            )
            hidden = hidden + after
        name = "model.vision.linear_proj."
        mapped = hidden[1:] @ vision[f"{name}linear_proj.weight"].T
        mapped = self.gelu(self.layer_norm(mapped, f"{name}norm1", 1e-5))
        gate = self.silu(mapped @ vision[f"{name}gate_proj.weight"].T)
        inner = gate * (mapped @ vision[f"{name}dense_h_to_4h.weight"].T)
        patches = inner @ vision[f"{name}dense_4h_to_h.weight"].T
        return torch.cat((vision["model.vision.boi"][0], patches, vision["model.vision.eoi"][0]))

    def vision_attention(self, name: str, hidden: torch.Tensor, heads: int) -> torch.Tensor:
        """No mask; fused rows are q, k, v, each by head."""
        fused = self.linear(hidden, f"{name}query_key_value")
        width = hidden.shape[1]
        size, out = width // heads, []
        for head in range(heads):
            q, k, v = (fused[:, part * width + head * size :][:, :size] for part in range(3))
            out.append(torch.softmax(q @ k.T / math.sqrt(size), 1) @ v)
        return self.linear(torch.cat(out, 1), f"{name}dense")

    def linear(self, values: torch.Tensor, name: str) -> torch.Tensor:
        return values @ self.state[f"{name}.weight"].T + self.state[f"{name}.bias"]

    def layer_norm(self, values: torch.Tensor, name: str, eps: float) -> torch.Tensor:
        centred = values - values.mean(1, keepdim=True)
        normed = centred / torch.sqrt((centred**2).mean(1, keepdim=True) + eps)
        return normed * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]
