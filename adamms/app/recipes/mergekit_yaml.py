"""A mergekit YAML as a run: which models are target, donors and ancestor, and what is merged how.

What a run cannot be is refused by name. The settings at each tensor are read by `adamms.merge.mergekit`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import Any

from adamms.checkpoint.side_files import RECORD
from adamms.errors import AdammsError, check_choice, nearest
from adamms.merge.mergekit.methods import MEANINGS, Meaning
from adamms.merge.method import TARGET

Node = dict[str, Any]
KEYS = [
    "merge_method",
    "base_model",
    "models",
    "slices",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
    "chat_template",
    "modules",
]
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}
# Keys of other formats of mergekit -> what they are.
OTHER_FORMATS = {
    "experts": "a mixture of experts (mergekit-moe)",
    "gate_mode": "a mixture of experts (mergekit-moe)",
    "modules": "modules, parts of a model that are merged in different ways",
    "genome": "an evolutionary search (mergekit-evolve): here it is mode=search search=coefficients",
}
MERGEKIT = "Make it with mergekit, and give the model that it writes as a path here."


@dataclass(frozen=True)
class Slice:
    """Some layers, from `layers[0]` to before `layers[1]`; all of them if None. Models by reference."""

    layers: tuple[int, int] | None
    models: Mapping[str, Node]
    parameters: Node


@dataclass
class Document:
    """A mergekit YAML, read.

    Args:
        content: the whole of it.
        notes: what of it has no effect.
    """

    content: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)

    def nodes(self) -> dict[str, Node]:
        """The groups `model`, `mapper` and `merge` of the run that it means.

        Raises:
            AdammsError: it means no run.
        """
        self._check_keys()
        name = self.content["merge_method"]
        check_choice("recipe: merge_method", str(name), list(MEANINGS))
        meaning = MEANINGS[name]
        base = None if self.content.get("base_model") is None else reference(self.content["base_model"])
        adds = meaning.base in ("model", "target") and name != "passthrough"
        slices = list(self._slices(base if adds else None))
        target, donors, ancestor = self._roles(name, meaning, base, slices)
        if len(donors) > len(ascii_lowercase):
            raise AdammsError(
                f"recipe: {len(donors)} models; expected at most {len(ascii_lowercase)} beside the target"
            )
        given = dict(zip(donors, ascii_lowercase, strict=False))
        names = given if ancestor is not None else {**given, target: TARGET}
        self._note_unread(meaning, slices)
        schedule = {
            "_target_": "adamms.merge.mergekit.by_tensor.ByTensor",
            "method_name": name,
            "parameters": self._parameters(self.content, "parameters"),
            "slices": [_plain(part, names, name) for part in slices],
        }
        return {
            "model": {
                "target": source(target),
                "donors": {given[donor]: source(donor) for donor in donors},
                **({} if ancestor is None else {"ancestor": source(ancestor)}),
            },
            "mapper": {"embeddings": self._embeddings(target)},
            "merge": {
                "_target_": f"{meaning.target}Task"
                if meaning.base == "perhaps" and ancestor
                else meaning.target,
                **meaning.numbers,
                "alpha": {given[donor]: 1 / len(donors) for donor in donors},
                "schedule": schedule,
                "dtype": self._dtype(),
            },
        }

    def _check_keys(self) -> None:
        for key, what in OTHER_FORMATS.items():
            if self.content.get(key):
                raise AdammsError(f"recipe: {key}: {what}, is not expressed here. {MERGEKIT}")
        if "merge_method" not in self.content:
            raise AdammsError(
                f"recipe: no merge_method; expected a mergekit YAML (merge_method, models, ...) or {RECORD}"
            )
        for key in self.content:
            if key not in KEYS:
                self.notes.append(f"recipe: {key} is not read.{nearest(str(key), KEYS)}")
        if self.content.get("chat_template") not in (None, ""):
            raise AdammsError(
                "recipe: chat_template is not expressed here: the target's is kept. Leave it out, and put a "
                "template into the merged folder"
            )
        if bool(self.content.get("models")) == bool(self.content.get("slices")):
            raise AdammsError("recipe: expected either models or slices")

    def _slices(self, base: str | None) -> Iterator[Slice]:
        """The slices, one after the other from layer 0; of `models` one.

        Args:
            base: what mergekit adds to `models` if it is not among them.
        """
        if given := self.content.get("models"):
            models = self._models("models", given)
            yield Slice(None, models if base is None else {**models, base: models.get(base, {})}, {})
            return
        at = 0
        for part in _list("slices", self.content["slices"]):
            for key in ("base_model", "residual_weight"):
                same = key == "base_model" and part.get(key) == self.content.get(key)
                if part.get(key) is not None and not same:
                    raise AdammsError(f"recipe: slices.{key} is not expressed here. {MERGEKIT}")
            models = self._models("slices.sources", part.get("sources"))
            ranges = [_range(one.get("layer_range")) for one in part["sources"]]
            if any(each != ranges[0] for each in ranges) or ranges[0][0] != at:
                shown = ", ".join(f"{first} to {end}" for first, end in ranges)
                raise AdammsError(
                    f"recipe: slices take the layers {shown} for what begins at layer {at}: layers that are "
                    "stacked or moved (a frankenmerge) are not expressed here, the target keeps its layers. "
                    f"{MERGEKIT}"
                )
            at = ranges[0][1]
            yield Slice(ranges[0], models, self._parameters(part, "slices"))

    def _models(self, key: str, given: Any) -> dict[str, Node]:
        """Model -> its parameters, of a list."""
        found: dict[str, Node] = {}
        for one in _list(key, given):
            if "model" not in one:
                raise AdammsError(f"recipe: {dict(one)!r} names no model; expected model: PATH")
            name = reference(one["model"])
            if name in found:
                raise AdammsError(
                    f"recipe: {key} has {name} twice; expected each model once, with the sum of the weights, "
                    "and no layers that are repeated (a frankenmerge)"
                )
            found[name] = self._parameters(one, key)
        return found

    def _parameters(self, node: Mapping[str, Any], where: str) -> Node:
        found = node.get("parameters") or {}
        if not isinstance(found, Mapping):
            raise AdammsError(f"recipe: parameters of {where} are {found!r}; expected {{key: value}}")
        return dict(found)

    def _roles(
        self, name: str, meaning: Meaning, base: str | None, slices: Sequence[Slice]
    ) -> tuple[str, list[str], str | None]:
        """Target, donors and ancestor."""
        if meaning.base in ("ancestor", "target") and base is None:
            raise AdammsError(f"recipe: {name} needs base_model")
        ancestral = base is not None and meaning.base in ("ancestor", "perhaps")
        least, most = meaning.models
        for part in slices:
            merged = [one for one in part.models if not (ancestral and one == base)]
            if not least <= len(merged) <= most or (meaning.base == "target" and base not in merged):
                wanted = f"{least}" if least == most else f"at least {least}"
                raise AdammsError(
                    f"recipe: {name} of {len(merged)} models ({', '.join(merged)}); expected {wanted}, in "
                    f"each slice{f', one of them base_model, {base}' if meaning.base == 'target' else ''}"
                    f"{' beside base_model' if ancestral else ''}"
                )
        models = list(dict.fromkeys(one for part in slices for one in part.models))
        if ancestral:
            assert base is not None
            return base, [one for one in models if one != base], base
        target = models[0] if base is None or (name == "passthrough" and base not in models) else base
        # A model alone is its own donor, of share 0.
        return target, [one for one in models if one != target] or [target], None

    def _embeddings(self, target: str) -> str:
        """How rows of tokens correspond: by their numbers, or by what is said of the tokenizer."""
        tokenizer = self.content.get("tokenizer") or {}
        if not isinstance(tokenizer, Mapping):
            raise AdammsError(f"recipe: tokenizer is {tokenizer!r}; expected {{source: base}}")
        wanted = self.content.get("tokenizer_source") or tokenizer.get("source")
        if tokenizer.get("tokens") or tokenizer.get("pad_to_multiple_of"):
            raise AdammsError(
                "recipe: tokenizer.tokens and pad_to_multiple_of, which change the vocabulary, are not "
                f"expressed here: the target's tokenizer is kept. {MERGEKIT}"
            )
        if wanted is None:
            return "rows"
        if wanted != "base" and reference(wanted) != target:
            raise AdammsError(
                f"recipe: the tokenizer of {wanted} is not expressed here: the merged model has the target's,"
                f" {target}; expected base. {MERGEKIT}"
            )
        return "auto"

    def _dtype(self) -> str | None:
        """The dtype of the result. Whatever dtype says of the arithmetic, it is float64."""
        wanted = self.content.get("out_dtype") or self.content.get("dtype")
        if wanted is None:
            return None
        short = str(wanted).removeprefix("torch.")
        check_choice("recipe: dtype", short, list(DTYPES))
        return DTYPES[short]

    def _note_unread(self, meaning: Meaning, slices: Sequence[Slice]) -> None:
        """Parameters that mean nothing to the method, to which mergekit says nothing."""
        given = [self._parameters(self.content, "parameters"), *(part.parameters for part in slices)]
        given += [own for part in slices for own in part.models.values()]
        for key in dict.fromkeys(key for settings in given for key in settings):
            if key not in (*meaning.reads, "scale"):
                name = self.content["merge_method"]
                self.notes.append(f"recipe: {name} has no parameter {key}.{nearest(str(key), meaning.reads)}")


def _plain(part: Slice, names: Mapping[str, str], method: str) -> Node:
    """A slice with the names of the run in the place of references; the base of task vectors is left out."""
    models = {names[model]: own for model, own in part.models.items() if model in names}
    if not models:
        raise AdammsError(f"recipe: a slice has no model to merge; {method} of {', '.join(part.models)}")
    return {
        "layers": None if part.layers is None else list(part.layers),
        "models": models,
        "parameters": part.parameters,
    }


def reference(given: Any) -> str:
    """A model as text, 'PATH@REVISION+ADAPTER'."""
    if isinstance(given, Mapping):
        if given.get("override_architecture"):
            raise AdammsError(
                "recipe: override_architecture is not expressed here; name the format in config.json"
            )
        path, adapter = given.get("model", given), given.get("lora")
        text = _path(path)
        return text if adapter is None else f"{text}+{_path(adapter)}"
    return _path(given)


def _path(given: Any) -> str:
    if isinstance(given, Mapping) and "path" in given:
        revision = given.get("revision")
        return str(given["path"]) if revision is None else f"{given['path']}@{revision}"
    if not isinstance(given, str) or not given:
        raise AdammsError(f"recipe: a model is {given!r}; expected a path or a hub id")
    return given


def source(text: str) -> Node:
    """The keys of one model, of its reference."""
    path, *adapter = text.split("+")
    path, *revision = path.split("@")
    node: Node = {"path": path}
    if revision:
        node["revision"] = revision[0]
    if adapter:
        node["adapter"] = adapter[0]
    return node


def _range(given: Any) -> tuple[int, int]:
    whole = isinstance(given, list) and len(given) == 2 and all(type(each) is int for each in given)
    if not whole or not 0 <= given[0] < given[1]:
        raise AdammsError(f"recipe: layer_range is {given!r}; expected [first, end]")
    return given[0], given[1]


def _list(key: str, given: Any) -> list[Mapping[str, Any]]:
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given) or not given:
        raise AdammsError(f"recipe: {key} is {given!r}; expected a list of mappings")
    return given
