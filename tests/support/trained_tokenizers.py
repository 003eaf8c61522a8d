"""Makers of real tokenizers, trained on a few lines, in the files that checkpoints come with."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

ONE = [
    "the cat sat on the mat",
    "a dog and the other cat",
    "3 + 4 = 7, café, naïve",
    "the theory of the thing",
]
OTHER = ["the mat of a dog", "hello there other world", "numbers 1 2 3, café", "the weather and the cat sang"]


def sentencepiece_model(
    folder: Path, lines: Sequence[str], size: int, kind: str = "bpe", **settings: object
) -> list[str]:
    """Train and write `tokenizer.model`; return its pieces as sentencepiece itself gives them."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(list(lines) * 20),
        model_writer=model,
        vocab_size=size,
        model_type=kind,
        hard_vocab_limit=False,
        minloglevel=2,
        **{"byte_fallback": True, **settings},
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return [processor.id_to_piece(index) for index in range(processor.get_piece_size())]


def byte_level_bpe(
    folder: Path, lines: Sequence[str], size: int, added: Sequence[str] = ()
) -> dict[str, int]:
    """Train a BPE as Qwen2's, add special tokens, save it by transformers; return its own vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(lines, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    fast.add_special_tokens({"additional_special_tokens": list(added)})
    fast.save_pretrained(folder)
    return fast.get_vocab()


def write_added_tokens(folder: Path, tokens: dict[str, int], decoder: bool) -> None:
    """Add tokens beside the tokenizer: in tokenizer_config.json or, as it used to be, added_tokens.json."""
    if not decoder:
        (folder / "added_tokens.json").write_text(json.dumps(tokens))
        return
    file = folder / "tokenizer_config.json"
    content = json.loads(file.read_text()) if file.exists() else {}
    content["added_tokens_decoder"] = {
        str(index): {"content": token, "special": True} for token, index in tokens.items()
    }
    file.write_text(json.dumps(content))
