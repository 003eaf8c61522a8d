"""Which files beside the weights a merged model takes over, and its model card."""

from pathlib import Path

from adamms.checkpoint.side_files import copy_side_files, side_files

COPIED = [
    "LICENSE",
    "USE_POLICY.md",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "config.json",
    "configuration_cogvlm.py",
    "generation_config.json",
    "merges.txt",
    "modeling_cogvlm.py",
    "preprocessor_config.json",
    "processor_config.json",
    "qwen.tiktoken",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "additional_chat_templates/tools.jinja",
    "remote/deep/visual.py",
]
LEFT = [
    "README.md",
    "adamms_recipe.json",
    "model-00001-of-00002.safetensors",
    "model.safetensors",
    "model.safetensors.index.json",
    "optimizer.pt",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "training_args.bin",
    ".gitattributes",
    ".git/config.json",
    ".cache/huggingface/download/config.json",
    "__pycache__/modeling_cogvlm.cpython-311.py",
    "original/params.json",
    "images/figure.png",
]


def fill(folder: Path) -> Path:
    for name in COPIED + LEFT:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"content of {name}")
    return folder


def test_configs_tokenizers_processors_and_code_are_taken_and_nothing_else(tmp_path: Path) -> None:
    assert sorted(map(str, side_files(fill(tmp_path)))) == sorted(COPIED)


def test_they_are_copied_with_their_subfolders(tmp_path: Path) -> None:
    source, destination = fill(tmp_path / "source"), tmp_path / "copy"
    destination.mkdir()
    copy_side_files(source, destination)
    copied = {str(p.relative_to(destination)): p.read_text() for p in destination.rglob("*") if p.is_file()}
    assert copied == {name: f"content of {name}" for name in COPIED}


def test_links_are_followed_because_a_hub_cache_is_made_of_them(tmp_path: Path) -> None:
    blobs, snapshot, destination = tmp_path / "blobs", tmp_path / "snapshot", tmp_path / "copy"
    for folder in (blobs, snapshot, destination):
        folder.mkdir()
    (blobs / "123abc").write_text("{}")
    (snapshot / "config.json").symlink_to(Path("..") / "blobs" / "123abc")
    copy_side_files(snapshot, destination)
    (blobs / "123abc").unlink()
    assert not (destination / "config.json").is_symlink()
    assert (destination / "config.json").read_text() == "{}"
