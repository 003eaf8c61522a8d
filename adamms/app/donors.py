"""The donors' own answers, as models of their own: for a search that votes with them, and for the evaluation.

Chooses nothing and sees no label.
"""

from collections.abc import Sequence

from adamms.app.asker import Given, check_asked, check_runnable, collect, live, tell_of_store
from adamms.app.merges import Merges
from adamms.app.settings import Run
from adamms.data.example import Example
from adamms.report.console import Console
from adamms.search.evidence import PARENTS


def ask_donor(
    run: Run, console: Console, merges: Merges, name: str, title: str, examples: Sequence[Example]
) -> Given:
    """A donor's own answers, as a model of its own architecture.

    Raises:
        AdammsError: the engine cannot run it.
    """
    donor = merges.models.donors[name]
    check_runnable(run, donor)
    with console.stage(f"check questions {name}", len(examples), "examples") as advance:
        check_asked(run, donor.source, donor.checkpoint.folder, examples, advance)
    with live(run, donor) as engine, console.stage(f"{title} {name}", len(examples), "answers") as advance:
        if donor.checkpoint.adapted:
            engine.load(merges.alone(donor))
        given = collect(engine, examples, advance)
    tell_of_store(console, engine)
    return given


def ask_donors(run: Run, console: Console, merges: Merges, examples: Sequence[Example]) -> dict[str, Given]:
    """Every donor's own answers, if the strategy needs them: before the target's engine starts."""
    if PARENTS not in run.strategy.needs:
        return {}
    return {name: ask_donor(run, console, merges, name, "search", examples) for name in merges.models.donors}
