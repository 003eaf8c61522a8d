"""Every ordered pair of the paper's models that share an ancestor, from the full-size headers.

The expected plans are those of tests/mapping/correspondences.py, whole; the numbers of kept tensors are
counted from the published files. And: pairs of other ancestors are refused, the pairs in conf/ are these.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import headers
import pytest
import yaml
from correspondences import EMBEDDINGS, Tree, correspondences
from headers import kept, published, read, rows, trees
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from mappers import spec_mapper

from adamms.errors import AdammsError
from adamms.mapping.specs.model import Model
from adamms.mapping.specs.resolve import SpecMapper

CONF = Path(__file__).resolve().parents[3] / "conf"


@dataclass(frozen=True)
class Published:
    """What is known of one checkpoint without adamms.

    Args:
        layers: the kind of its decoder layers, a word of correspondences.LAYERS.
        rows: of embeddings and head.
        kept: tensors that are no part of the language model, by reason, when it is the target.
        prefix: what the names of its language model begin with.
    """

    layers: str
    rows: int
    kept: dict[str, int]
    prefix: str = ""


ROTARY = "rotary frequencies (a constant)"
HF = "language_model."
COGVLM = Published("cogvlm", 32000, {ROTARY: 32, "vision encoder": 768})
LLAVA = Published("llama", 32000, {ROTARY: 32, "projector": 4})
LLAMA = Published("llama", 32000, {ROTARY: 32})
ONEVISION = {"vision encoder": 421, "projector": 5}
QWEN2 = Published("qwen2", 152064, {})

LLAMA_2 = {
    "llava_v1_5_7b": LLAVA,
    "llava_1_5_7b_hf": Published("llama", 32064, {"vision encoder": 391, "projector": 4}, HF),
    "sharegpt4v_7b": LLAVA,
    "cogvlm_chat_hf": COGVLM,
    "cogvlm_base_490_hf": COGVLM,
    "cogvlm_grounding_generalist_hf": COGVLM,
    "mplug_owl2_llama2_7b": Published(
        "mplug_owl2", 32000, {ROTARY: 32, "vision encoder": 295, "visual abstractor": 136}
    ),
    "vicuna_7b_v1_5": LLAMA,
    "llama_2_7b_hf": LLAMA,
}
QWEN2_7B = {
    "qwen2_vl_7b_instruct": Published("qwen2", 152064, {"vision encoder": 391}),
    "llava_onevision_qwen2_7b_si": Published("qwen2", 152064, ONEVISION),
    "llava_onevision_qwen2_7b_ov": Published("qwen2", 152064, ONEVISION),
    "llava_onevision_qwen2_7b_ov_hf": Published("qwen2", 152128, ONEVISION, HF),
    "qwen2_7b": QWEN2,
    "qwen2_7b_instruct": QWEN2,
}
YI_34B = {
    "cambrian_34b": Published("llama", 64000, {"projector": 29, "spatial vision aggregator": 421}),
    "yi_vl_34b": Published("llama", 64000, {"projector": 8}),
    "yi_34b": Published("llama", 64000, {}),
}
MODELS = LLAMA_2 | QWEN2_7B | YI_34B
# Number of layers, hidden size.
SIZES = {
    **dict.fromkeys(LLAMA_2, (32, 4096)),
    **dict.fromkeys(QWEN2_7B, (28, 3584)),
    **dict.fromkeys(YI_34B, (60, 7168)),
}
# Merged tensors of a target: 3 outside the layers, and 12, 13, 9 or 12 in each.
MERGED = {"cogvlm": 387, "mplug_owl2": 419, "llama": 291, "qwen2": 339}
MERGED_OF_34B = 543


@pytest.fixture(scope="module")
def load() -> dict[str, Model]:
    return {name: published(name) for name in MODELS}


FAMILIES = (LLAMA_2, QWEN2_7B, YI_34B)
PAIRS = [pair for family in FAMILIES for pair in permutations(family, 2)]


def expected_plan(target: str, donor: str) -> dict[str, Tree]:
    """Where the rows differ in number, the common ones come first and are the same tokens."""
    mine, theirs = MODELS[target], MODELS[donor]
    prefixes = (mine.prefix, theirs.prefix)
    found = correspondences((mine.layers, theirs.layers), *SIZES[target], prefixes)
    for name in EMBEDDINGS:
        whole = read(theirs.prefix + name)
        if mine.rows < theirs.rows:
            found[mine.prefix + name] = rows(whole, 0, mine.rows)
        if mine.rows > theirs.rows:
            found[mine.prefix + name] = {
                "tokens": whole,
                "rows": f"0:{theirs.rows} -{mine.rows - theirs.rows}",
            }
    return found


def mapper_for(target: str, donor: str) -> SpecMapper:
    mine, theirs = MODELS[target].rows, MODELS[donor].rows
    return (
        spec_mapper() if mine == theirs else spec_mapper(embeddings="rows", embedding_rows=min(mine, theirs))
    )


def read_names(tree: Tree) -> Iterator[str]:
    match tree:
        case {"read": str(name)}:
            yield name
        case {"slice": inner} | {"tokens": inner}:
            yield from read_names(inner)
        case {"concat": parts}:
            for part in parts:
                yield from read_names(part)


def test_the_plan_of_every_pair_is_the_published_correspondence(load: dict[str, Model]) -> None:
    for target, donor in PAIRS:
        expected = expected_plan(target, donor)
        plan = mapper_for(target, donor).plan(load[target], {"a": load[donor]})
        assert trees(plan) == expected
        # Every tensor of the target in exactly one slot, with its own shape.
        stored = load[target].checkpoint.tensors
        assert [slot.name for slot in plan.slots] == sorted(stored)
        assert all(slot.shape == stored[slot.name].shape for slot in plan.slots)
        assert Counter(kept(plan).values()) == MODELS[target].kept
        merged = MERGED_OF_34B if target in YI_34B else MERGED[MODELS[target].layers]
        assert len(expected) == merged == len(stored) - sum(MODELS[target].kept.values())
        # Every tensor of the donor is read, or accounted for as unused.
        used = {name for tree in expected.values() for name in read_names(tree)}
        unused = [name for names in plan.unused["a"].values() for name in names]
        assert len(unused) == len(set(unused))
        assert set(load[donor].checkpoint.tensors) - used == set(unused)


def test_other_numbers_of_rows_and_no_tokenizer_keep_embeddings_and_head(load: dict[str, Model]) -> None:
    for target, donor in [pair for pair in PAIRS if MODELS[pair[0]].rows != MODELS[pair[1]].rows]:
        mine, theirs = MODELS[target], MODELS[donor]
        outer = {mine.prefix + name for name in EMBEDDINGS}
        plan = spec_mapper().plan(load[target], {"a": load[donor]})
        assert trees(plan) == {n: tree for n, tree in expected_plan(target, donor).items() if n not in outer}
        for name in outer:
            assert kept(plan)[name].startswith(f"{mine.rows} rows, a has {theirs.rows}, and not both have")


# ---------------------------------------------------------------- the pairs in conf/


def pair_of(file: Path) -> dict[str, str]:
    """Target, donor and ancestor, in this order, and the checkpoints that the pair's YAML names for them."""
    entries = [next(iter(entry.items())) for entry in yaml.safe_load(file.read_text())["defaults"]]
    return {key.removeprefix("/checkpoint@").removeprefix("donors."): value for key, value in entries}


PAIR_FILES = sorted(
    file for file in (CONF / "model").glob("*_from_*.yaml") if set(pair_of(file).values()) <= set(MODELS)
)


def test_a_pair_maps_with_its_ancestor_beside_every_merged_tensor(load: dict[str, Model]) -> None:
    for file in PAIR_FILES:
        target, donor, ancestor = pair_of(file).values()
        plan = mapper_for(target, donor).plan(load[target], {"a": load[donor]}, load[ancestor])
        found = {r["name"]: r["ancestor"] for r in plan.to_json()["tensors"] if r["action"] == "merge"}
        assert found == expected_plan(target, ancestor)


def test_the_hub_ids_in_conf_are_those_of_the_published_files() -> None:
    for name in MODELS:
        entry = yaml.safe_load((CONF / f"checkpoint/{name}.yaml").read_text())
        content = json.loads((headers.FIXTURES / f"{name}.json").read_text())
        assert entry["path"] in content["checkpoint"]


EXPERIMENTS = sorted(file.stem for file in (CONF / "experiment").glob("paper_*.yaml"))


def test_an_experiment_of_the_paper_is_the_papers_search_over_the_whole_language_model(
    load: dict[str, Model],
) -> None:
    for experiment in EXPERIMENTS:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("config", overrides=[f"experiment={experiment}", "output=out", "cache=cache"])
        assert list(config.search.grid) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
        assert (config.search.samples, config.search.signal.rule, config.search.endpoints) == (
            100,
            "sum",
            "interior",
        )
        asked = {*config.data.prompts, *config.data.choice_prompts}
        assert asked == {"mmmu", "mme", "seedbench", "ocrbench", "textvqa", "okvqa", "gqa", "vizwiz"}
        hub = {
            yaml.safe_load((CONF / f"checkpoint/{name}.yaml").read_text())["path"]: name for name in MODELS
        }
        (donor,) = config.model.donors.values()
        target, other, ancestor = (
            hub[node.path] for node in (config.model.target, donor, config.model.ancestor)
        )
        plan = instantiate(config.mapper).plan(load[target], {"a": load[other]}, load[ancestor])
        merged = [slot for slot in plan.slots if slot.merged]
        whole = MERGED_OF_34B if target in YI_34B else MERGED[MODELS[target].layers]
        # Without their tokenizers, which are not here, these two's embeddings cannot be aligned.
        assert len(merged) == whole - (2 if experiment == "paper_llava_onevision" else 0)
        assert all(slot.ancestor is not None for slot in merged)


def test_the_papers_experiments_are_its_pairs() -> None:
    assert len(EXPERIMENTS) == 11
    pairs = [
        yaml.safe_load((CONF / f"experiment/{name}.yaml").read_text())["defaults"] for name in EXPERIMENTS
    ]
    assert {entries[0]["override /model"] for entries in pairs} == {
        *("qwen2vl_from_llava_onevision", "llava_onevision_from_qwen2vl", "cogvlm_from_llava"),
        *("llava_from_mplug_owl2", "mplug_owl2_from_llava", "mplug_owl2_from_cogvlm"),
        *("cogvlm_from_mplug_owl2", "llava_from_sharegpt4v", "sharegpt4v_from_llava"),
        *("cogvlm_from_sharegpt4v", "cambrian_from_yi_vl"),
    }


# ---------------------------------------------------------------- no ancestor in common

STRANGERS = [pair for mine, theirs in permutations(FAMILIES, 2) for pair in product(mine, theirs)]


def test_models_of_other_shapes_are_refused_by_name_and_shapes(load: dict[str, Model]) -> None:
    for target, donor in STRANGERS:
        mine, theirs = MODELS[target], MODELS[donor]
        (_, width), (_, donor_width) = SIZES[target], SIZES[donor]
        with pytest.raises(AdammsError) as caught:
            spec_mapper().plan(load[target], {"stranger": load[donor]})
        # The first in the order of names that does not fit: the head, or the embeddings in one format.
        name = min(mine.prefix + name for name in EMBEDDINGS)
        assert str(caught.value).startswith(
            f"shape mismatch at {name}: the target has [{mine.rows}, {width}], donor 'stranger' gives "
            f"[{theirs.rows}, {donor_width}] from {theirs.prefix}lm_head.weight ("
        )
        with pytest.raises(AdammsError) as caught:
            spec_mapper(embeddings="keep").plan(load[target], {"stranger": load[donor]})
        assert "model.layers.0.input_layernorm" in str(caught.value)
        assert f"the target has [{width}], donor 'stranger' gives [{donor_width}] from" in str(caught.value)
