"""Which files beside the weights a merged model takes over, and its model card."""

from pathlib import Path

from adamms.checkpoint.side_files import copy_side_files, links_out, side_files

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
    "spk_dict.pt",
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


def test_links_into_the_hubs_cache_are_followed(tmp_path: Path) -> None:
    repository, destination = tmp_path / "models--owner--name", tmp_path / "copy"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / "123abc"
    for folder in (blobs, snapshot, destination):
        folder.mkdir(parents=True)
    (blobs / "456def").write_text("{}")
    (snapshot / "config.json").symlink_to(Path("../../blobs/456def"))
    copy_side_files(snapshot, destination)
    (blobs / "456def").unlink()
    assert not (destination / "config.json").is_symlink()
    assert (destination / "config.json").read_text() == "{}"


def test_links_elsewhere_are_not_followed_and_named(tmp_path: Path) -> None:
    model, destination = tmp_path / "model", tmp_path / "copy"
    for folder in (model / "code", tmp_path / "elsewhere/blobs", destination):
        folder.mkdir(parents=True)
    secret = tmp_path / "elsewhere/blobs/secret"  # a folder of that name is no hub cache
    secret.write_text("secret")
    (model / "config.json").write_text("{}")
    (model / "inside.json").symlink_to("config.json")
    left = {
        "LICENSE": "/etc/passwd",
        "code/loop.py": "loop.py",
        "code/modeling.py": "../../elsewhere/blobs/secret",
        "tokenizer.json": "gone.json",
        "vocab.txt": str(secret),
    }
    for name, target in left.items():
        (model / name).symlink_to(target)
    (model / "folder.json").symlink_to(tmp_path / "elsewhere")
    (model / ".hidden.json").symlink_to(secret)
    (model / "weights.safetensors").symlink_to(secret)
    assert [str(file) for file in links_out(model)] == list(left)
    copy_side_files(model, destination)
    assert {file.name for file in destination.rglob("*")} == {"config.json", "inside.json"}
