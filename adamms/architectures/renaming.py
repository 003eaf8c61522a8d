"""Names of a checkpoint's tensors -> parameters of transformers' class, as its loader finds them.

What is renamed, stacked, split or fused, transformers says itself. Knows neither roles nor weights.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Renamed:
    """What a tensor of a file becomes.

    Args:
        parameter: the class's, or the first of several. The class may lack it.
        converter: of transformers, what stacks, splits or fuses the tensor on loading; None for nothing.
        pattern: the one of the converter's source patterns that the tensor's name matches; "" for none.
    """

    parameter: str
    converter: Any = None
    pattern: str = ""


class Renaming:
    """How transformers renames the tensors of files for one model.

    Args:
        model: of transformers, on any device.

    Attributes:
        parameters: its parameters and buffers, by name.
    """

    def __init__(self, model: "PreTrainedModel") -> None:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter, WeightRenaming

        transforms = get_model_conversion_mapping(model)
        self.parameters = model.state_dict()
        self._renamings = [each for each in transforms if isinstance(each, WeightRenaming)]
        self._converters = [each for each in transforms if isinstance(each, WeightConverter)]
        self._by_pattern = {source: each for each in self._converters for source in each.source_patterns}
        self._base = model.base_model_prefix

    def find(self, name: str) -> Renamed:
        """What the tensor `name` becomes.

        Some renamings depend on the names before: ask in their order.
        """
        from transformers.core_model_loading import rename_source_key

        found, pattern = rename_source_key(
            name, self._renamings, self._converters, self._base, self.parameters
        )
        if found not in self.parameters and name in self.parameters:
            return Renamed(name)
        return Renamed(found, self._by_pattern.get(pattern), pattern or "")

    def renamed(self, name: str) -> str:
        """The name before anything is stacked, split or fused, whether or not the class has it."""
        from transformers.core_model_loading import rename_source_key

        found, _ = rename_source_key(name, self._renamings, [], self._base, self.parameters)
        return str(found)

    def unconverted(self, name: str) -> str:
        """The same of a name that a converter matches, below the same base as the parameter it becomes."""
        from transformers.core_model_loading import rename_source_key

        renamed, _ = rename_source_key(name, self._renamings, [])
        plain, _ = rename_source_key(name, self._renamings, self._converters)
        based, _ = rename_source_key(plain, [], [], self._base, self.parameters)
        if len(based) > len(plain):
            return f"{self._base}.{renamed}"
        return str(renamed if based == plain else renamed.removeprefix(f"{self._base}."))
