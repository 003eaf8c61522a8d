"""The description of a native family: how its checkpoints are recognised, and where its classes are.

Knows no family. A family's classes are imported when they are first used.
"""

import pkgutil
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Family:
    """One native family: the `FAMILY` in the `__init__` of a subpackage of `adamms.models`.

    Args:
        model_type: the `model_type` of its configuration class.
        architectures: values of config.json's `architectures` that mean this family: published ones and
            the name of its own model class.
        configuration, model, processor: its classes as 'module.Class'. The configuration is a
            `PreTrainedConfig` whose `from_pretrained` reads a published config.json as it is. The model
            is a `PreTrainedModel` that generates and whose parameters have the published names. The
            processor is an `ImageTextProcessor` with a class method
            `from_published(folder, config, tokenizer)`, for a folder without a processor_config.json.
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
        return pkgutil.resolve_name(self.configuration)

    @property
    def model_class(self) -> Any:
        return pkgutil.resolve_name(self.model)

    @property
    def processor_class(self) -> Any:
        return pkgutil.resolve_name(self.processor)
