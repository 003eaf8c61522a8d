"""What transformers' classes said is kept: an equal model is not asked about again, any other is."""

import importlib.metadata as metadata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mappers import spec_mapper
from tiny_configs import tiny_config

from adamms.app import class_facts
from adamms.app.class_facts import ClassFacts
from adamms.architectures import recognise
from adamms.architectures.derive import DerivedArchitecture, derive
from adamms.architectures.meta_model import build
from adamms.checkpoint.reader import Checkpoint
from adamms.checkpoint.tensor_entry import TensorEntry
from adamms.errors import AdammsError
from adamms.mapping.checks.configs import LanguageSettings
from adamms.mapping.specs.model import Model

# Besides whole tensors: all experts in one, several roles in one.
KINDS = ("qwen2_vl", "qwen3_vl_moe", "phi4_multimodal")


def headers(kind: str) -> Checkpoint:
    """A tiny model of a type of transformers, without its weights."""
    folder = Path("/no/such/folder")
    config = tiny_config(kind).to_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in build(config, folder, False).state_dict().items()}
    file = folder / "model.safetensors"
    entries = {name: TensorEntry(name, shape, "F32", file, 0) for name, shape in sorted(shapes.items())}
    return Checkpoint(folder, entries, config)


@pytest.fixture(scope="module")
def qwen2_vl_headers() -> Checkpoint:
    return headers("qwen2_vl")


@pytest.fixture
def derived(monkeypatch: pytest.MonkeyPatch) -> list[DerivedArchitecture]:
    """Grows by each architecture that is derived from a class."""
    found: list[DerivedArchitecture] = []

    def noted(*arguments: object) -> DerivedArchitecture:
        found.append(derive(*arguments))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(recognise, "derive", noted)
    return found


def described(facts: ClassFacts, checkpoint: Checkpoint, architecture: str | None = None) -> Model:
    model = facts.describe(spec_mapper(), checkpoint, architecture)
    assert isinstance(model, Model)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_read_as_its_class_described_it(
    kind: str, derived: list[DerivedArchitecture], tmp_path: Path
) -> None:
    facts, checkpoint = ClassFacts(tmp_path), headers(kind)
    first, again = described(facts, checkpoint), described(facts, checkpoint)
    assert len(derived) == 1
    assert list(again.labels.items()) == list(first.labels.items())
    assert list(again.roles.items()) == list(first.roles.items())
    assert (str(again), again.wrapped) == (str(first), first.wrapped)
    assert again.architecture.inference == first.architecture.inference


def changed_config(checkpoint: Checkpoint) -> Checkpoint:
    return replace(checkpoint, config={**checkpoint.config, "tie_word_embeddings": True})


def changed_tensor(checkpoint: Checkpoint) -> Checkpoint:
    name, entry = next(iter(checkpoint.tensors.items()))
    return replace(checkpoint, tensors={**checkpoint.tensors, name: replace(entry, dtype="BF16")})


def fewer_tensors(checkpoint: Checkpoint) -> Checkpoint:
    """Without one of the vision encoder's, which may be missing."""
    name = next(name for name in checkpoint.tensors if "visual" in name)
    return replace(checkpoint, tensors={k: v for k, v in checkpoint.tensors.items() if k != name})


@pytest.mark.parametrize("change", [changed_config, changed_tensor, fewer_tensors])
def test_another_config_or_list_of_tensors_is_another_question(
    change: Callable[[Checkpoint], Checkpoint],
    qwen2_vl_headers: Checkpoint,
    derived: list[DerivedArchitecture],
    tmp_path: Path,
) -> None:
    facts = ClassFacts(tmp_path)
    described(facts, qwen2_vl_headers)
    model = described(facts, change(qwen2_vl_headers))
    assert len(derived) == 2
    assert model.labels.keys() == change(qwen2_vl_headers).tensors.keys()


def test_so_are_another_version_and_another_architecture(
    qwen2_vl_headers: Checkpoint,
    derived: list[DerivedArchitecture],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = ClassFacts(tmp_path)
    described(facts, qwen2_vl_headers)
    described(facts, qwen2_vl_headers, "qwen2_vl")
    monkeypatch.setattr(type(metadata.distribution("transformers")), "version", "5.99.0")
    described(ClassFacts(tmp_path), qwen2_vl_headers)
    assert len(derived) == 3


def test_of_a_checkout_of_transformers_nothing_is_kept(
    qwen2_vl_headers: Checkpoint,
    derived: list[DerivedArchitecture],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As pip tells of it; of a commit, what is found is kept for that commit."""
    kind = type(metadata.distribution("transformers"))
    for origin, expected in (
        ('{"vcs_info": {"commit_id": "a"}}', 1),
        ('{"vcs_info": {"commit_id": "b"}}', 2),
        ('{"dir_info": {"editable": true}}', 4),
    ):
        monkeypatch.setattr(kind, "read_text", lambda _, name, origin=origin: origin)
        for _ in range(2):
            described(ClassFacts(tmp_path), qwen2_vl_headers)
        assert len(derived) == expected


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content.replace("attn.q", "attn.k"),
        lambda content: "",
        lambda content: '{"labels": {}}',
        lambda content: content.encode().hex(),
    ],
)
def test_a_damaged_file_is_made_anew(
    damage: Callable[[str], str],
    qwen2_vl_headers: Checkpoint,
    derived: list[DerivedArchitecture],
    tmp_path: Path,
) -> None:
    facts = ClassFacts(tmp_path)
    first = described(facts, qwen2_vl_headers)
    (file,) = (tmp_path / "classes").iterdir()
    whole = file.read_text()
    file.write_text(damage(whole))
    assert described(facts, qwen2_vl_headers).labels == first.labels
    assert (len(derived), file.read_text()) == (2, whole)


def test_what_no_class_said_or_files_of_its_own_say_is_not_kept(
    qwen2: Path, onevision_hub: Path, qwen2_vl_headers: Checkpoint, tmp_path: Path
) -> None:
    facts = ClassFacts(tmp_path)
    facts.describe(spec_mapper(trust_remote_code=True), qwen2_vl_headers, None)
    llama = replace(qwen2_vl_headers, config={"architectures": ["Qwen2ForCausalLM"]}, tensors={})
    with pytest.raises(AdammsError):
        described(facts, llama)
    incomplete = {name: entry for name, entry in qwen2_vl_headers.tensors.items() if "norm" not in name}
    with pytest.raises(AdammsError, match="incomplete"):
        described(facts, replace(qwen2_vl_headers, tensors=incomplete))
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_changes_nothing(
    qwen2_vl_headers: Checkpoint, derived: list[DerivedArchitecture], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    facts = ClassFacts(tmp_path / "file")
    assert described(facts, qwen2_vl_headers).labels == described(facts, qwen2_vl_headers).labels
    assert len(derived) == 2


def test_settings_completed_by_a_class_are_kept_alike(
    qwen2_vl_headers: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts, checkpoint = ClassFacts(tmp_path), qwen2_vl_headers
    first = facts.settings(checkpoint)
    other = facts.settings(changed_config(checkpoint))

    def never(_: Checkpoint) -> LanguageSettings:
        raise AssertionError

    monkeypatch.setattr(class_facts, "completed_settings", never)
    assert (facts.settings(checkpoint), facts.settings(changed_config(checkpoint))) == (first, other)
    assert first != other
