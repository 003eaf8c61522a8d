"""Registers the native families with transformers, and recognises their checkpoint folders.

Every subpackage of `adamms.models` has a `FAMILY` (see `family`) and is found by that. Knows no engine.
"""

import pkgutil
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import adamms.models
from adamms.checkpoint.reader import read_config, read_json
from adamms.errors import AdammsError
from adamms.models.auto_tables import auto_tables
from adamms.models.family import Family

# A folder with one of the first has a tokenizer; with the second, a processor that transformers saved.
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")
_PROCESSOR_FILE = "processor_config.json"
# In the keys of a config.json whose model has more than text to look at.
_SENSES = re.compile("vision|visual|image|img|video|audio|speech")
# Where the config.json of Qwen-Omni has the part that answers in text.
_THINKER = "thinker_config"
# The Auto classes that load a model which answers -> their tables of what they know, in order of preference.
AUTO_CLASSES = {
    "AutoModelForImageTextToText": "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "AutoModelForMultimodalLM": "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
    "AutoModelForSpeechSeq2Seq": "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
    "AutoModelForTextToWaveform": "MODEL_FOR_TEXT_TO_WAVEFORM_MAPPING_NAMES",
    "AutoModelForCausalLM": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
}
_OFFLINE = {"local_files_only": True, "trust_remote_code": False}  # else transformers asks on the terminal


def families() -> tuple[Family, ...]:
    """The native families, by name."""
    packages = [module.name for module in pkgutil.iter_modules(adamms.models.__path__) if module.ispkg]
    return tuple(import_module(f"adamms.models.{name}").FAMILY for name in sorted(packages))


def register() -> None:
    """Register them with AutoConfig, AutoModelForImageTextToText, AutoModelForCausalLM and AutoProcessor.

    Calling it again changes nothing. The Auto classes then load folders whose config.json has the family's
    `model_type`. Published files may lack it, as CogVLM's does; for them use `load_model`, or pass
    `config=native_config(folder)`, which is None for every other folder.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

    for family in families():
        configuration, model = family.configuration_class, family.model_class
        AutoConfig.register(family.model_type, configuration, exist_ok=True)
        AutoModelForImageTextToText.register(configuration, model, exist_ok=True)
        AutoModelForCausalLM.register(configuration, model, exist_ok=True)
        AutoProcessor.register(configuration, family.processor_class, exist_ok=True)


def native_family(folder: Path) -> Family | None:
    """The native family of the checkpoint in `folder`; None if it is transformers' own.

    The class in config.json's `architectures` decides, or `model_type` if there is no class.
    """
    config = read_config(folder)
    declared = config.get("architectures") or []
    for family in families():
        if set(declared) & set(family.architectures):
            return family
        if not declared and config.get("model_type") == family.model_type:
            return family
    return None


def native_config(folder: Path) -> Any:
    """The configuration of a native family's checkpoint; None for other folders. Never runs remote code."""
    family = native_family(folder)
    if family is None:
        return None
    return family.configuration_class.from_pretrained(folder, local_files_only=True)


def auto_class(config: Mapping[str, Any]) -> str:
    """Name of the class of transformers that loads the model of this config.json.

    The class in `architectures` decides, then `model_type`: the first Auto class that knows it, of those of
    images, of other media, of speech, of speaking and of text alone. A config.json without a `model_type` is
    read by the class itself alone.
    """
    classes = dict(zip(AUTO_CLASSES, auto_tables(*AUTO_CLASSES.values()), strict=True))
    model_type, declared = config.get("model_type"), config.get("architectures") or []
    for name in declared:
        for auto, known in classes.items():
            if name in known.values():
                return auto if model_type is not None else str(name)
    return next((auto for auto, known in classes.items() if model_type in known), next(iter(classes)))


def is_text_only(config: Mapping[str, Any]) -> bool:
    """Whether this config.json is of a language model alone, which can be shown no images."""
    return auto_class(config) == "AutoModelForCausalLM" and not any(map(_SENSES.search, config))


def ties_embeddings(config: Mapping[str, Any]) -> bool | None:
    """Whether transformers makes embeddings and head of this config.json one table; None if it cannot say."""
    from transformers import CONFIG_MAPPING

    try:
        return bool(CONFIG_MAPPING[config["model_type"]].from_dict(dict(config)).tie_word_embeddings)
    except Exception:  # noqa: BLE001  (no such model type, or a configuration that its class refuses)
        return None


def load_model(folder: Path) -> Any:
    """The model in `folder` that answers, in its stored dtype, whether native or transformers' own.

    Of a model that thinks in one part and speaks in others, it is the thinker.

    Raises:
        AdammsError: transformers cannot load it, or the files lack weights of the model (other than tied
            ones), or have them in another shape. transformers would draw them at random, with a warning only.
    """
    import transformers

    _check_generation_config(folder)
    register()
    own = read_config(folder)
    name = auto_class(own.get(_THINKER, own))
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # what matters of its report of names is an error below
    try:
        config = native_config(folder)
        if _THINKER in own:
            config = getattr(transformers.AutoConfig.from_pretrained(folder, **_OFFLINE), _THINKER)
        model, found = getattr(transformers, name).from_pretrained(
            folder,
            config=config,
            dtype="auto",
            **_OFFLINE,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, all at once
        )
    except AdammsError:
        raise
    except Exception as error:
        raise AdammsError(
            f"{folder}: transformers cannot load it with {name} ({type(error).__name__}: {str(error)[:300]})"
        ) from error
    finally:
        transformers.logging.set_verbosity(verbosity)
    name, missing = type(model).__name__, sorted(found["missing_keys"])
    wrong = [f"{key} {list(held)} for {list(own)}" for key, held, own in sorted(found["mismatched_keys"])]
    for weights, problem in (
        (wrong, f"{len(wrong)} of its weights have shapes that do not fit {name}; is config.json theirs?"),
        (missing, f"its files lack weights that {name} has, {len(missing)} of them"),
    ):
        if weights:
            shown = ", ".join(weights[:5] + ["..."] * (len(weights) > 5))
            raise AdammsError(f"{folder}: {problem}: {shown}")
    return model


def _check_generation_config(folder: Path) -> None:
    """Raise AdammsError for what transformers would end with in the middle of loading."""
    from transformers import GenerationConfig

    file = folder / "generation_config.json"
    if not file.is_file():
        return
    content = read_json(file)
    for key in ("eos_token_id", "pad_token_id", "bos_token_id"):
        ids = content.get(key)
        for one in ids if isinstance(ids, list) else [ids]:
            if one is not None and type(one) is not int:
                raise AdammsError(f"{file}: {key} is {ids!r}; expected the number of a token, or a list")
    try:
        GenerationConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise AdammsError(f"{file}: {type(error).__name__}: {str(error)[:300]}") from error


def native_processor(family: Family, folder: Path, tokenizer: Path | None = None) -> Any:
    """The processor of a native family's checkpoint.

    Args:
        folder: the checkpoint's.
        tokenizer: a folder with the tokenizer; None: the tokenizer is in `folder`.

    Raises:
        AdammsError: there is no tokenizer in `folder`, and `tokenizer` is None.
    """
    from transformers import AutoTokenizer

    register()  # else transformers warns of the unknown config.json
    if tokenizer is None and (folder / _PROCESSOR_FILE).is_file():
        return family.processor_class.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if tokenizer is None and not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise AdammsError(
            f"{folder}: there is no tokenizer in it. Name one, a folder or a hub id: "
            f"model.target.tokenizer={family.tokenizer} is what the authors of {family.model_type} use "
            f"(of a donor: model.donors.<name>.tokenizer)"
        )
    words = AutoTokenizer.from_pretrained(
        folder if tokenizer is None else tokenizer, local_files_only=True, trust_remote_code=False
    )
    return family.processor_class.from_published(folder, native_config(folder), words)
