"""What a native family says of itself: how its checkpoints are recognised, and where its classes are.

Knows nothing of any family; imports nothing of one before it is used.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True)
class Family:
    """One native family. A subpackage of `adamms.models` exposes it as `FAMILY` in its `__init__`.

    Args:
        model_type: the `model_type` of its configuration class.
        architectures: values of config.json's `architectures` that mean this family, published ones and
            the name of its own model class.
        configuration, model, processor: its classes as 'module.Class'. The configuration is a
            `PreTrainedConfig` whose `from_pretrained` takes a published config.json as it is. The model
            is a `PreTrainedModel` that generates and whose parameters have the published names. The
            processor is a `ProcessorMixin` with two things more:

            - `from_published(folder, config, tokenizer)`, a class method: the processor of a checkpoint
              folder that holds none that transformers knows; defaults come from the configuration and,
              if there are any, from the folder's own files;
            - `templates`, chat templates by name, from which `chat_template` is one.
        tokenizer: hub id of the tokenizer that its authors use.
    """

    model_type: str
    architectures: tuple[str, ...]
    configuration: str
    model: str
    processor: str
    tokenizer: str

    @property
    def configuration_class(self) -> Any:
        return _import(self.configuration)

    @property
    def model_class(self) -> Any:
        return _import(self.model)

    @property
    def processor_class(self) -> Any:
        return _import(self.processor)


def _import(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
