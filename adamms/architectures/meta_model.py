"""The class that a config.json declares, built by transformers without weights, and the text decoder in it.

Imports transformers, which takes seconds: only where no spec decides. Knows nothing of roles.
"""

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adamms.errors import AdammsError, cause

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel

WAY_ON = (
    "A spec of the format maps it all the same (architecture=FILE.yaml, see docs/models.md), and so does "
    "mapper=discover, by the weights."
)


class UnknownClassError(AdammsError):
    """transformers has no class for a config.json."""


# The Auto mappings in which a model_type is looked up where config.json declares no class.
MAPPINGS = (
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
    "MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES",
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_MAPPING_NAMES",
)
_CAUSAL = re.compile(r"(ForCausalLM|LMHeadModel)$")
# What config.json says of how the model runs, not of what it is.
_RUNTIME = {"quantization_config", "dtype", "torch_dtype", "attn_implementation", "_attn_implementation"}


@dataclass(frozen=True)
class Decoder:
    """Where the language model is in a model; all are names of modules, as `model.language_model`.

    Args:
        name: the text decoder; "" for the model itself.
        layers: its list of layers, e.g. "model.language_model.layers".
        embeddings: its input embeddings.
        head: its output embeddings; "" where there are none.
        others: modules within the decoder that hold encoders of their own.
        model: a causal language model within a larger model, around its decoder; None for none.
    """

    name: str
    layers: str
    embeddings: str
    head: str
    others: tuple[str, ...]
    model: str | None


def build(config: Mapping[str, Any], where: Path, trust_remote_code: bool) -> "PreTrainedModel":
    """The model that config.json, found in `where`, declares, on the meta device.

    Raises:
        AdammsError: an encoder-decoder, a class that transformers does not have, or a config that it refuses.
    """
    with quiet(), undocumented():
        import torch
        from transformers.initialization import no_init_weights

        found, filled = _class_and_config(config, where, trust_remote_code)
        text = filled.get_text_config()
        if filled.is_encoder_decoder or getattr(text, "is_encoder_decoder", False):
            raise AdammsError(
                f"{where}: {found.__name__} is an encoder with a decoder that attends to it, no decoder-only "
                f"language model. {WAY_ON}"
            )
        try:
            with torch.device("meta"), no_init_weights():
                return found._from_config(filled)
        except Exception as error:  # (a class raises whatever it likes of a config that it does not expect)
            raise _refused(where, found.__name__, error) from error


def find_decoder(model: "PreTrainedModel", where: Path) -> Decoder:
    """The innermost part of a model that holds its input embeddings and a list of layers.

    Raises:
        AdammsError: no part of the model is a text decoder.
    """
    from transformers import PreTrainedModel

    modules = dict(model.named_modules())
    parts = {name: part for name, part in modules.items() if isinstance(part, PreTrainedModel)}
    for speaker in parts.values():
        embeddings = _embeddings(speaker)
        name = next((name for name, module in modules.items() if module is embeddings), None)
        if name is None:
            continue
        inner = [part for part in parts if _is_in(name, part)]
        for part in sorted(inner, key=len, reverse=True):
            nested = [other for other in parts if other != part and _is_in(other, part)]
            layers = _layers(modules, part, nested)
            if layers:
                others = _others(modules, part, nested, keep=(layers, name))
                around = [each for each in inner if each and each != part and _is_in(part, each)]
                model_of = next((each for each in around if _CAUSAL.search(type(parts[each]).__name__)), None)
                return Decoder(part, layers, name, _head(speaker, modules), others, model_of)
    raise AdammsError(
        f"{where}: {type(model).__name__} has no text decoder that its class tells of "
        f"(get_input_embeddings). {WAY_ON}"
    )


def tied_weights(model: "PreTrainedModel") -> dict[str, str]:
    """Parameter -> the one that it is tied to; a class without post_init is tied as its parts are."""
    from transformers import PreTrainedModel

    parts = {name: part for name, part in model.named_modules() if isinstance(part, PreTrainedModel)}
    telling = (name for name, part in parts.items() if hasattr(part, "all_tied_weights_keys"))
    found: dict[str, str] = {}
    for name in [""] if hasattr(model, "all_tied_weights_keys") else telling:
        place = f"{name}." if name else ""
        found |= {place + one: place + other for one, other in parts[name].all_tied_weights_keys.items()}
    return found


def known_model_types() -> list[str]:
    """The model_type of every model that transformers knows."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return list(CONFIG_MAPPING_NAMES)


def known_classes() -> list[str]:
    """The classes of models that transformers has."""
    import transformers

    return [name for name in dir(transformers) if re.search(r"For[A-Z]|Model$", name)]


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' log lines and warnings: what matters of them is an error of ours."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def undocumented() -> Iterator[None]:
    """transformers' classes are imported without the docs that it makes for them, which cost seconds."""
    from transformers import utils

    real = utils.auto_docstring
    utils.auto_docstring = lambda obj=None, **_: (lambda described: described) if obj is None else obj
    try:
        yield
    finally:
        utils.auto_docstring = real


def _class_and_config(
    config: Mapping[str, Any], where: Path, trust_remote_code: bool
) -> tuple[type["PreTrainedModel"], "PretrainedConfig"]:
    import transformers
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    content = _readable(config)
    declared = [str(name) for name in content.get("architectures") or []]
    model_type = str(content.get("model_type"))
    names = declared
    if not declared and model_type in CONFIG_MAPPING:
        tables = (getattr(modeling_auto, table, {}) for table in MAPPINGS)
        listed = next((table[model_type] for table in tables if model_type in table), ())
        names = [listed] if isinstance(listed, str) else list(listed)
    known = [name for name in names if hasattr(transformers, name)]
    if not known and config.get("auto_map"):
        return _remote(config, where, trust_remote_code)
    if not known:
        says = ", ".join(declared) or str(content.get("model_type"))
        raise UnknownClassError(
            f"config.json declares {says}, for which transformers {transformers.__version__} has no class"
        )
    found = getattr(transformers, known[0])
    kind = CONFIG_MAPPING[model_type] if model_type in CONFIG_MAPPING and not declared else found.config_class
    try:
        return found, kind.from_dict(content)
    except Exception as error:  # (as above)
        raise _refused(where, known[0], error) from error


def _remote(
    config: Mapping[str, Any], where: Path, trusted: bool
) -> tuple[type["PreTrainedModel"], "PretrainedConfig"]:
    """The class and config that Python files in the checkpoint's folder define."""
    from transformers import AutoConfig
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    classes = {key: name for key, name in config["auto_map"].items() if key.startswith("AutoModel")}
    if not trusted:
        raise AdammsError(
            f"{where}: config.json declares a class of Python files of its own "
            f"({', '.join(map(str, config['auto_map'].values()))}), which neither a spec nor transformers "
            f"knows. mapper.trust_remote_code=true runs them to learn the names of its tensors; look at them "
            f"first. {WAY_ON}"
        )
    reference = classes.get("AutoModelForCausalLM") or next(iter(classes.values()), None)
    if reference is None:
        raise AdammsError(f"{where}: config.json's auto_map names no AutoModel class. {WAY_ON}")
    try:
        found = get_class_from_dynamic_module(reference, str(where), local_files_only=True)
        return found, AutoConfig.from_pretrained(where, trust_remote_code=True, local_files_only=True)
    except Exception as error:  # (code of others raises whatever it likes)
        raise _refused(where, str(reference), error) from error


def _refused(where: Path, name: str, error: Exception) -> AdammsError:
    import transformers

    return AdammsError(
        f"{where}: {name} of transformers {transformers.__version__} cannot be made from config.json: "
        f"{cause(error)}. {WAY_ON}"
    )


def _readable(value: Any) -> Any:
    """A config without what says how the model is to run, and with the numbers that JSON lacks."""
    if isinstance(value, list):
        return [_readable(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    if value.keys() == {"__float__"}:
        return float(value["__float__"])
    return {key: _readable(each) for key, each in value.items() if key not in _RUNTIME}


def _embeddings(part: "PreTrainedModel") -> "nn.Module | None":
    """What a model looks tokens up in; None where it looks up none, as a vision encoder."""
    from torch import nn

    try:
        found = part.get_input_embeddings()
    except (NotImplementedError, AttributeError):
        return None
    inside = found.modules() if isinstance(found, nn.Module) else ()
    return found if any(isinstance(module, nn.Embedding) for module in inside) else None


def _head(speaker: "PreTrainedModel", modules: Mapping[str, "nn.Module"]) -> str:
    head = speaker.get_output_embeddings()
    return next((name for name, module in modules.items() if module is head), "")


def _layers(modules: Mapping[str, "nn.Module"], part: str, nested: list[str]) -> str:
    """The name of the largest list of modules in `part`, outside of what is `nested` in it; "" for none."""
    from torch import nn

    sizes = {
        name: sum(parameter.numel() for parameter in module.parameters())
        for name, module in modules.items()
        if isinstance(module, nn.ModuleList)
        and _is_in(name, part)
        and not any(_is_in(name, other) for other in nested)
    }
    return max(sizes, key=lambda name: sizes[name], default="")


def _others(
    modules: Mapping[str, "nn.Module"], part: str, nested: list[str], keep: tuple[str, ...]
) -> tuple[str, ...]:
    """The children of a decoder that hold models, or lists of layers, of their own."""
    from torch import nn

    def holds_models(name: str) -> bool:
        inside = [other for other in modules if other != name and _is_in(other, name)]
        lists = any(isinstance(modules[other], nn.ModuleList) for other in inside)
        return lists or any(other in nested for other in (name, *inside))

    depth = part.count(".") + bool(part)
    children = [name for name in modules if name != part and _is_in(name, part) and name.count(".") == depth]
    return tuple(
        name for name in children if not any(_is_in(kept, name) for kept in keep) and holds_models(name)
    )


def _is_in(name: str, part: str) -> bool:
    """Whether the module `name` is `part` or lies in it."""
    return not part or name == part or name.startswith(f"{part}.")
