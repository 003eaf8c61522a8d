"""The weights of a live model by their names in a checkpoint's files, so that they can be replaced in place.

Follows transformers' own conversion on loading: what it renames, stacks, fuses, transposes or converts in
other ways. Knows no recipes and no engine. Takes seconds to import.
"""

import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.core_model_loading import Concatenate, MergeModulelist, Transpose, dot_natural_key

from adamms.architectures.renaming import Renaming
from adamms.engines.base import UnprovenError
from adamms.engines.checksum import checksums_of

Shape = tuple[int, ...]
# A converter's source pattern -> the tensors that match it, in the order of their names.
Operands = dict[str, list[torch.Tensor]]


@dataclass(eq=False)
class Group:
    """Stored tensors that transformers converts together into one or several live ones.

    Args:
        key: the first live tensor's name.
        converter: of transformers.
        sources: stored name -> the converter's pattern that it matches, in the order of loading.
    """

    key: str
    converter: Any
    sources: dict[str, str] = field(default_factory=dict)


class LiveWeights:
    """Where every stored tensor is in a live model.

    Most are a view: a live parameter, or a part of one, transposed where memory and file differ. Copying into
    the view replaces the weight. So the experts of a layer can be written one at a time into the parameter
    in which transformers stacks them, as here of a model with four:

        experts = "model.layers.0.mlp.experts"
        names = [f"{experts}.{e}.{part}_proj.weight" for e in range(4) for part in ("gate", "up")]
        weights = LiveWeights(model, dict.fromkeys(names, (48, 64)))  # the sizes of one expert
        model.state_dict()[f"{experts}.gate_up_proj"].shape           # (4, 96, 64)
        weights.views[f"{experts}.3.up_proj.weight"].shape            # (48, 64): gate_up_proj[3, 48:]

    The others lie otherwise in memory (rotary halves in another order, one tensor split into several): they
    are in a group, which `convert` writes whole.

    Args:
        model: a model of transformers, as it is after loading.
        stored: the tensors in the checkpoint's files: name -> shape.

    Attributes:
        views: stored name -> what is live of it, of the stored shape.
        groups: stored name -> its group, for tensors without a view.
        stored: name -> shape of all of these.
        ignored: names of stored tensors that the model's class leaves out on loading.
    """

    def __init__(self, model: Any, stored: Mapping[str, Shape]) -> None:
        self.views: dict[str, torch.Tensor] = {}
        self.groups: dict[str, Group] = {}
        self._model = model
        renaming = Renaming(model)
        self._live = renaming.parameters
        unused = model._keys_to_ignore_on_load_unexpected or ()
        ignored = set()
        found: dict[str, Group] = {}
        self._keys: dict[str, str] = {}  # stored name -> live name
        keys: dict[int, str] = {}  # address in memory -> live name
        for name in sorted(stored, key=dot_natural_key):  # as the loader does
            renamed = renaming.find(name)
            key = renamed.parameter
            if key not in self._live:
                if any(re.search(each, key) for each in unused):
                    ignored.add(name)
            elif renamed.converter is None:
                tensor = self._live[key]
                if tensor.numel() and keys.setdefault(tensor.data_ptr(), key) != key:
                    tensor = self._live[key] = self._untied(key)  # a merge may part what the files hold twice
                self.views[name], self._keys[name] = tensor, key
            else:
                found.setdefault(key, Group(key, renamed.converter)).sources[name] = renamed.pattern
        self.ignored = frozenset(ignored)
        for group in found.values():
            views = self._views(group, stored)
            if views is None:
                self.groups |= dict.fromkeys(group.sources, group)
                if len(group.sources) == 1 or len(group.converter.target_patterns) == 1:
                    self._keys |= dict.fromkeys(group.sources, group.key)
            else:
                self.views |= zip(_names(group), views, strict=True)
                self._keys |= dict.fromkeys(group.sources, group.key)
        self.stored = {name: stored[name] for name in (*self.views, *self.groups)}

    def checksums(self) -> dict[str, str]:
        """Stored name -> checksum of what is live of it; of what is not stored so, live name -> checksum.

        Raises:
            UnprovenError: a view that is no part of the model any more, or a tie that is broken.
        """
        live = dict(self._model.named_parameters(remove_duplicate=False))
        live |= dict(self._model.named_buffers(remove_duplicate=False))
        untold = live.keys() - set(self._keys.values())
        held = {name: live[key] for name, key in self._keys.items()}
        lost = [name for name, view in self.views.items() if not _is_part(view, held[name])]
        ties = self._model.all_tied_weights_keys
        lost += [tied for tied in ties if tied in untold and not _is_part(live[tied], live[ties[tied]])]
        if lost:
            raise UnprovenError(f"the live model does not use the weights that are swapped in: {lost[0]}")
        found: dict[str, str] = {}
        for name, tensor in (held | self.views | {key: live[key] for key in sorted(untold)}).items():
            found |= checksums_of(name, tensor)
        return found

    def groups_of(self, names: Iterable[str]) -> list[Group]:
        """The groups that hold any of these tensors, each once."""
        return list(dict.fromkeys(self.groups[name] for name in names if name in self.groups))

    @torch.no_grad()
    def convert(self, group: Group, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write a whole group as transformers converts it on loading.

        Args:
            tensors: stored name -> tensor, for every source of the group.
        """
        converter = deepcopy(group.converter)
        for name, pattern in group.sources.items():
            converter.add_tensor(group.key, name, pattern, tensors[name])
        made = converter.convert(group.key, model=self._model, config=self._model.config)
        for key, tensor in made.items():
            self._live[key].copy_(tensor[0] if isinstance(tensor, list) else tensor)

    def _untied(self, key: str) -> torch.Tensor:
        """The live tensor `key` in memory of its own."""
        module, _, attribute = key.rpartition(".")
        parent, own = self._model.get_submodule(module), self._live[key].clone()
        if isinstance(getattr(parent, attribute), torch.nn.Parameter):
            own = torch.nn.Parameter(own, requires_grad=False)
        setattr(parent, attribute, own)
        return own.detach()

    def _views(self, group: Group, stored: Mapping[str, Shape]) -> list[torch.Tensor] | None:
        """The views of a group's tensors, pattern by pattern; None where what is live is no view.

        The converter's operations run forwards on shapes alone, then they are undone on the live tensor.
        """
        held: Operands = {}
        for name, pattern in group.sources.items():
            held.setdefault(pattern, []).append(torch.empty(stored[name], device="meta"))
        converter, steps = group.converter, []
        for operation in converter.operations:
            if type(operation) not in (MergeModulelist, Concatenate, Transpose):
                return None
            steps.append((operation, held))
            made = operation.convert(
                dict(held),
                source_patterns=converter.source_patterns,
                target_patterns=converter.target_patterns,
                full_layer_name=group.key,
                model=self._model,
                config=self._model.config,
            )
            held = {key: tensor if isinstance(tensor, list) else [tensor] for key, tensor in made.items()}
        live = self._live[group.key]
        if [tensor.shape for tensors in held.values() for tensor in tensors] != [live.shape]:
            return None
        views: Operands = {key: [live] for key in held}
        for operation, operands in reversed(steps):
            views = _undone(operation, converter.source_patterns, operands, views)
        return [view for pattern in dict.fromkeys(group.sources.values()) for view in views[pattern]]


def _is_part(view: torch.Tensor, tensor: torch.Tensor) -> bool:
    """Whether a view lies in the memory of a tensor."""
    first = view.data_ptr() - tensor.data_ptr()
    return view.device == tensor.device and 0 <= first <= max(0, tensor.nbytes - view.nbytes)


def _names(group: Group) -> list[str]:
    """The stored names pattern by pattern."""
    patterns = list(dict.fromkeys(group.sources.values()))
    return sorted(group.sources, key=lambda name: patterns.index(group.sources[name]))


def _undone(operation: Any, patterns: list[str], operands: Operands, result: Operands) -> Operands:
    """Views of the operands in views of an operation's result.

    Args:
        patterns: the order in which operands are concatenated.
        operands: tensors of the operands' shapes.
        result: pattern -> one view each.
    """
    if isinstance(operation, MergeModulelist):
        named = result if len(operands) > 1 else dict(zip(operands, result.values(), strict=True))
        return {pattern: list(named[pattern][0].unbind(operation.dim)) for pattern in operands}
    ((view,),) = result.values()
    if isinstance(operation, Concatenate):
        order = [pattern for pattern in patterns if pattern in operands]
        sizes = [tensor.shape[operation.dim] for pattern in order for tensor in operands[pattern]]
        parts = iter(view.split(sizes, operation.dim))
        return {pattern: [next(parts) for _ in operands[pattern]] for pattern in order}
    ((pattern, (operand,)),) = operands.items()
    keeps = operation.check_dims and operand.shape == view.shape
    return {pattern: [view if keeps else view.transpose(operation.dim0, operation.dim1)]}
