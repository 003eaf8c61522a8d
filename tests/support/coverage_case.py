"""One pair of tiny models of a multimodal type: planned and merged by the command line, and judged.

What a merged tensor should be is computed here in float64, from the live models that transformers loads and
their own names: nothing of adamms' mapping is used.
"""

import importlib.util
import io
import os
import re
import runpy
import sys
import time
import traceback
from collections.abc import Collection, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tiny_configs
import tiny_types
import torch

ROOT = Path(__file__).resolve().parents[2]
ALPHA = 0.3
# Text type -> that of the causal LM with the same names and meaning, where it is another.
_KIN = {
    "emu3_text_model": "llama",
    "glm4v_moe_text": "glm4_moe",
    "glm4v_text": "glm4",
    "hunyuan_vl": "hunyuan_v1_dense",
    "qwen2_5_omni_text": "qwen2",
    "qwen2_5_vl_text": "qwen2",
    "qwen2_vl_text": "qwen2",
    "qwen3_omni_moe_text": "qwen3_moe",
    "qwen3_vl_moe_text": "qwen3_moe",
    "qwen3_vl_text": "qwen3",
}
# What a backbone holds that is not of the language model, or is never merged.
_ELSEWHERE = re.compile(
    r"(vision_model|image_encoder|visual_projection|vqmodel|embed_tokens_extend|protein_encoder)\."
    r"|.*(cross_attn|e_score_correction_bias)"
)
_LAYER = re.compile(r"layers\.\d+\.")
# How hub files have the experts, where transformers saves them otherwise: arguments of relayout_experts.
LAYOUTS: dict[str, dict[str, bool]] = {
    "qwen3_vl_moe": {"fused": True, "transposed": True},
    "qwen3_5_moe": {"fused": True, "transposed": False},
}

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Pair:
    """A target and a donor of one ancestor.

    >>> Pair("qwen3_vl", "qwen3", "qwen3").name
    'qwen3_vl'

    Args:
        target: its model type.
        text: the type of its language model, as the causal LM is called.
        donor: its model type.
        hub: the target's experts lie as in the hub's files.
    """

    target: str
    text: str
    donor: str
    hub: bool = False

    @property
    def name(self) -> str:
        return f"{self.target} (hub's files)" if self.hub else self.target


@dataclass
class Verdict:
    """What became of one pair.

    Args:
        verdict: right, wrong, half, crashed, refused or "cannot be built".
        reason: the message, or which tensors are not as they should be.
        seconds: of each mode.
        generates: why the merged model did not continue a text in transformers; "" if it did.
    """

    pair: Pair
    verdict: str = "right"
    reason: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    generates: str = "not tried"

    @property
    def failed(self) -> bool:
        return self.verdict in ("wrong", "half", "crashed")


def pairs(types: Collection[str] = ()) -> list[Pair]:
    """A pair of each type; the donor is the next by name with the same language model, or the same type."""
    from transformers.models.auto import modeling_auto as auto

    texts: dict[str, str] = {}
    for kind in sorted(tiny_types.multimodal_types()):
        text = tiny_configs.tiny_config(kind).get_text_config(decoder=True).model_type
        texts[kind] = _KIN.get(text, text)
    missing = () if importlib.util.find_spec("timm") else tiny_configs.NEED_TIMM
    causal = set(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    found = []
    for kind, text in texts.items():
        family = sorted({other for other in texts if texts[other] == text} | ({text} & causal))
        family = [other for other in family if other == kind or other not in missing]
        donor = family[(family.index(kind) + 1) % len(family)]
        found += [Pair(kind, text, donor), *([Pair(kind, text, donor, hub=True)] if kind in LAYOUTS else [])]
    return [pair for pair in found if not types or pair.target in types]


def judged(pair: Pair, folder: Path, modes: Sequence[str] = ("plan", "merge")) -> Verdict:
    """Build the pair in the folder, plan, merge, reload and compare."""
    verdict = Verdict(pair)
    try:
        target, donor = _built(pair, folder)
    except Exception as error:  # noqa: BLE001 - whatever this transformers makes of its own default
        verdict.verdict, verdict.reason = "cannot be built", f"{type(error).__name__}: {error}"
        return verdict
    for mode in modes:
        start = time.perf_counter()
        status, said = run_command(
            *(f"mode={mode}", "model=custom", f"merge.alpha={ALPHA}"),
            *(f"model.target.path={folder / 'target'}", f"model.donors.a.path={folder / 'donor'}"),
            *(f"output={folder / mode}", f"hydra.run.dir={folder / 'hydra'}"),
        )
        verdict.seconds[mode] = time.perf_counter() - start
        if status:
            verdict.verdict = "refused" if status == 2 and "error: " in said else "crashed"
            verdict.reason = said[said.rfind("error: ") :].removeprefix("error: ") if status == 2 else said
            return verdict
    try:
        merged = _loaded(pair.target, folder / "merge/model")
    except Exception as error:  # noqa: BLE001 - the target did load
        verdict.verdict, verdict.reason = "wrong", f"it does not load: {type(error).__name__}: {error}"
        return verdict
    verdict.verdict, verdict.reason = compare(target, donor, merged)
    return verdict


def not_generated(folder: Path) -> str:
    """Why the model in the folder, loaded as engine=transformers does, cannot continue a text, or ""."""
    from adamms.models.registration import load_model

    prompt = torch.arange(2, 10).unsqueeze(0) + tiny_configs.VOCABULARY // 2
    try:
        load_model(folder).generate(input_ids=prompt, max_new_tokens=2, do_sample=False)
    except Exception as error:  # noqa: BLE001 - whatever a class of transformers raises
        return f"{type(error).__name__}: {error}"
    return ""


def _built(pair: Pair, folder: Path) -> tuple[Any, Any]:
    """The two models, saved as folder/target and folder/donor and loaded again.

    Raises:
        ValueError: transformers does not load what it saves.
    """
    models = []
    for noise, (name, kind) in enumerate((("target", pair.target), ("donor", pair.donor))):
        built = tiny_types.build(kind, noise=noise)
        tiny_types.save(built, folder / name)
        if pair.hub and kind in LAYOUTS:
            tiny_types.relayout_experts(folder / name, **LAYOUTS[kind])
        loaded = _loaded(kind, folder / name)
        now = loaded.state_dict()
        if lost := [key for key, t in built.state_dict().items() if not torch.equal(t, now[key])]:
            raise ValueError(
                f"transformers does not load what it saves: {len(lost)} tensors, first {lost[0]}"
            )
        models.append(loaded)
    return models[0], models[1]


def _loaded(model_type: str, folder: Path) -> Any:
    return tiny_types.class_of(model_type).from_pretrained(folder)  # type: ignore[attr-defined]


def run_command(*overrides: str) -> tuple[int, str]:
    """`python run.py` with these overrides, in this process: exit status, and what it printed."""
    said, before = io.StringIO(), sys.argv
    sys.argv = ["run.py", *overrides]
    try:
        with redirect_stdout(said), redirect_stderr(said):
            runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
    except SystemExit as leave:
        return (leave.code if isinstance(leave.code, int) else 1 if leave.code else 0), said.getvalue()
    except BaseException:  # noqa: BLE001 - what a user would have seen
        return 1, traceback.format_exc()
    finally:
        sys.argv = before
        os.environ.pop("HYDRA_FULL_ERROR", None)
    return 0, said.getvalue()


def compare(target: Any, donor: Any, merged: Any) -> tuple[str, str]:
    """The verdict, and the tensors that are not as they should be."""
    language, now = language_model(target), merged.state_dict()
    of_donor = {role: donor.state_dict()[name] for name, role in language_model(donor).items()}
    mixed, wrong, left, seen = 0, [], [], set[int]()
    for name, tensor in target.state_dict().items():
        if tensor.data_ptr() in seen:  # tied to one that came before
            continue
        seen.add(tensor.data_ptr())
        expected = tensor
        if (role := language.get(name)) in of_donor:
            mixed += 1
            expected = ((1 - ALPHA) * tensor.double() + ALPHA * of_donor[role].double()).to(tensor.dtype)
        if not torch.equal(now[name], expected):
            (left if torch.equal(now[name], tensor) else wrong).append(name)
    if wrong:
        return "wrong", f"{len(wrong)} tensors are neither mixed nor the target's: {', '.join(wrong[:9])}"
    if left or not mixed:
        return "half", f"{len(left)} of {mixed} tensors are the target's: {', '.join(left[:9])}"
    return "right", f"{mixed} tensors"


def language_model(model: Any) -> dict[str, str]:
    """Name -> role, of the tensors that the language model of another model may be mixed into."""
    roles = tiny_types.text_roles(model)
    inserted = {layer[0] for role in roles.values() if "cross_attn" in role and (layer := _LAYER.match(role))}
    return {
        name: role
        for name, role in roles.items()
        if not _ELSEWHERE.match(role) and not role.startswith(tuple(inserted))
    }
