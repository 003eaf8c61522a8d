"""The models held against each other before anything is merged: configurations, ancestry, what is left out.

Knows what is an error and which key overrides it; how it is found out is in `mapping.checks`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from adamms.app.class_facts import ClassFacts
from adamms.app.distance import mapped_models
from adamms.app.merges import Merges
from adamms.app.models import Models, OpenModel
from adamms.app.settings import Run
from adamms.checkpoint.chat_template import read_chat_template
from adamms.engines.thought import thought_tags
from adamms.errors import AdammsError
from adamms.mapping.checks.configs import compare_configs
from adamms.mapping.checks.kinship import FAR, judged, sample_distances, strangers, too_far
from adamms.mapping.checks.left_out import NEGLIGIBLE, LeftOut, left_out, share_left_out
from adamms.mapping.checks.row_order import in_another_order
from adamms.mapping.plan import ANCESTOR, Difference, Plan
from adamms.report import words
from adamms.report.console import Console

FORCE = "If you know better: plan.force=true"
# Tensors left out that a message names.
LISTED = 12
STRANGERS = "Without a common ancestor a merge is noise."
REORDER = "They must not be merged as they lie; mapper=discover brings them into the target's order."


def checked(run: Run, console: Console, merges: Merges, facts: ClassFacts) -> Merges:
    """Compare the models, and say in the plan in what they differ.

    Args:
        facts: what is known of the classes of models.

    Raises:
        AdammsError: unless plan.force=true: a model of another kind; one without a common ancestor, of which
            mode=plan only warns; a plan that leaves out part of the language model that a donor has.
    """
    compared = _configs(merges, facts)
    related = _weights(merges)
    whole = _coverage(merges)
    thinking = _thinking(merges.models)
    for text in (*related.warnings, *thinking.warnings):
        console.warn(text)
    problems = [*compared.problems, *whole.problems]
    if run.mode == "plan":  # which merges nothing
        for text in related.problems:
            console.warn(f"{text} Other modes refuse it. {FORCE}")
    else:
        problems += related.problems
    if problems and not run.force:
        raise AdammsError("\n".join(problems) + f" {FORCE}")
    found = (compared, thinking, related, whole)
    differences = tuple(row for each in found for row in each.differences)
    return replace(merges, plan=replace(merges.plan, differences=differences))


@dataclass(frozen=True)
class _Found:
    """What one check has to say: rows for people, warnings, and what stops a run."""

    differences: Sequence[Difference] = ()
    warnings: Sequence[str] = ()
    problems: Sequence[str] = ()


def _configs(merges: Merges, facts: ClassFacts) -> _Found:
    """What the models' config.json say."""
    target, differences, problems = merges.models.target.checkpoint, [], []
    for name, other in _others(merges.models).items():
        found = compare_configs(name, target, other.checkpoint, facts.settings)
        differences += [*found.conflicts, *found.differences]
        if found.conflicts:
            problems.append(_of_another_kind(other, found.conflicts))
    return _Found(differences, problems=problems)


def _thinking(models: Models) -> _Found:
    """Which donors think aloud where the target does not, by their chat templates."""
    if thought_tags(read_chat_template(models.target.checkpoint.folder)):
        return _Found()
    rows, warnings = [], []
    for name, donor in models.donors.items():
        if tag := thought_tags(read_chat_template(donor.checkpoint.folder)):
            rows.append(Difference(name, "thinks aloud", "no", f"{tag} in its chat template"))
            warnings.append(
                f"{donor.source.where} thinks aloud ({tag} in its chat template), the target does not: "
                f"merged answers may begin with a thought. It is not compared, but it takes tokens: "
                f"engine.max_new_tokens=2048"
            )
    return _Found(rows, warnings)


def _weights(merges: Merges) -> _Found:
    """What a sample of the weights says."""
    plan, others = merges.plan, _others(merges.models)
    models = mapped_models(merges)
    measured = sample_distances(plan, models)
    if measured is None:
        return _Found([Difference(name, "weights", "", "not compared: headers alone") for name in others])
    slots = {slot.name: slot for slot in plan.slots}
    foreign = strangers(measured.tensors, slots)
    far = {name: d for name, d in too_far(measured, slots).items() if name not in foreign}
    problems = {name: f"{why}. {STRANGERS}" for name, why in foreign.items()}
    if not plan.findings:
        orders = in_another_order(plan, models)
        problems |= {name: f"{order}. {REORDER}" for name, order in orders.items()}
    return _Found(
        judged(measured, slots),
        [_far(others[name], distance) for name, distance in far.items()],
        [f"{others[name].source.where}: {problem}" for name, problem in problems.items()],
    )


def _coverage(merges: Merges) -> _Found:
    """What the plan leaves out of the language model."""
    kept = left_out(merges.plan, {name: donor.checkpoint for name, donor in merges.models.donors.items()})
    share = share_left_out(merges.plan, kept)
    clear = kept if share > NEGLIGIBLE else [each for each in kept if each.by_weights]
    return _Found(
        [*merges.plan.differences, *_rows(kept, share)],
        problems=[_left_out(merges.plan, clear, share)] if clear else [],
    )


def _others(models: Models) -> dict[str, OpenModel]:
    """Donors and ancestor by name."""
    return dict(models.donors) | ({} if models.ancestor is None else {ANCESTOR: models.ancestor})


def _of_another_kind(model: OpenModel, conflicts: Sequence[Difference]) -> str:
    found = "; ".join(f"{one.what} {one.other}, the target has {one.target}" for one in conflicts)
    return (
        f"{model.source.where} ({model.checkpoint.folder}): {found} (config.json). The weights have the same "
        f"shapes, but not the same meaning."
    )


def _far(model: OpenModel, far: float) -> str:
    return (
        f"{model.source.where}: the median distance of its weights is {far:.3g} of the target's norm; models "
        f"that are known to merge well lie below {FAR}"
    )


def _rows(kept: Sequence[LeftOut], share: float) -> list[Difference]:
    """How many of each donor's tensors are left out."""
    return [
        Difference(donor, f"left out, {share:.1%} of the language model in all", "", f"{count} tensors")
        for donor, count in Counter(each.donor for each in kept).items()
    ]


def _left_out(plan: Plan, kept: Sequence[LeftOut], share: float) -> str:
    parameters = words.parameters(sum(each.slot.elements for each in kept))
    largest = sorted(kept, key=lambda each: -each.slot.elements)[:LISTED]
    named = "; ".join(
        f"{each.slot.name} {list(each.slot.shape)} resembles {each.donor}'s {each.resembles}"
        for each in largest
    )
    more = f"; and {len(kept) - LISTED} more" if len(kept) > LISTED else ""
    part = f"{share:.0%}" if share > NEGLIGIBLE else "less than 1%"
    key = "mapper.exclude_match" if plan.findings else "mapper.exclude (or mapper.match)"
    return (
        f"the plan leaves out {part} of the language model: {len(kept)} tensors, {parameters} "
        f"parameters, that the donors have as well: {named}{more}. A spec of the formats maps them "
        f"(architecture=FILE.yaml, see docs/models.md); {key} leaves them out on purpose."
    )
