"""The donors' own answers, as models of their own: for a search that votes with them, and for the evaluation.

A language model alone sees no images and videos: what has one is not asked of it. Chooses nothing and sees
no label.
"""

from collections.abc import Sequence
from pathlib import Path

from adamms.app.asker import Given, collect
from adamms.app.live import check_asked, check_runnable, live, tell_of_store
from adamms.app.merges import Merges
from adamms.app.models import Models, OpenModel, prompt_files
from adamms.app.questions import Questions
from adamms.app.settings import Run, Source
from adamms.checkpoint.chat_template import read_chat_template
from adamms.checkpoint.vocabulary import contradiction
from adamms.data.example import Example
from adamms.errors import AdammsError
from adamms.report.console import Console
from adamms.search.evidence import DONORS, PARENTS, TOKEN_IDS


def asked_of(donor: OpenModel, examples: Sequence[Example]) -> list[Example]:
    """The examples that a donor is asked."""
    return understood(donor.source, donor.checkpoint.folder, examples) if donor.text_only else list(examples)


def understood(source: Source, folder: Path, examples: Sequence[Example]) -> list[Example]:
    """What a language model alone can be asked: examples without media, if it has a chat template."""
    return [example for example in examples if not example.media and _has_template(source, folder)]


def not_asked(run: Run, models: Models, questions: Questions) -> dict[str, str]:
    """Donor name -> what it is not asked of what the search and the evaluation ask the donors, and why."""
    asked = questions.inputs if PARENTS in run.strategy.needs else []
    asked += questions.labelled if run.score_donors and run.scorer is not None else []
    asked = list(dict.fromkeys(asked))
    found = {}
    for name, donor in models.donors.items():
        if count := len(asked) - len(asked_of(donor, asked)):
            templated = _has_template(donor.source, donor.checkpoint.folder)
            noun = "images or videos" if any(example.video for example in asked) else "images"
            why = f"they have {noun}, which it cannot see" if templated else "it has no chat template"
            found[name] = f"{count} of {len(asked)} questions: {why}"
    return found


def _has_template(source: Source, folder: Path) -> bool:
    return bool(source.keys.chat_template or read_chat_template(folder))


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
    with (
        live(run, console, donor) as engine,
        console.stage(f"{title} {name}", len(examples), "answers") as advance,
    ):
        if donor.checkpoint.adapted:
            engine.load(merges.alone(donor))
        given = collect(engine, examples, advance)
    tell_of_store(console, engine)
    return given


def _check_token_ids(target: OpenModel, donor: OpenModel, name: str) -> None:
    """Raise AdammsError unless token ids mean the same to both."""
    named = (prompt_files(model.source).tokenizer or model.checkpoint.folder for model in (target, donor))
    if found := contradiction(*named):
        raise AdammsError(
            f"this search compares the probabilities of tokens by their ids, and donor {name} has another "
            f"tokenizer than the target: {found}. Compare texts instead, e.g. search=trusted or "
            f"search/signal=likelihood"
        )


def ask_donors(run: Run, console: Console, merges: Merges, examples: Sequence[Example]) -> dict[str, Given]:
    """The answers of every donor that can be asked, if the strategy needs them.

    The target's engine starts later: one model is live at a time.

    Raises:
        AdammsError: a donor that the engine cannot run, or a strategy that says nothing without donors.
    """
    needs = run.strategy.needs
    if PARENTS not in needs:
        return {}
    given = {}
    for name, donor in merges.models.donors.items():
        if asked := asked_of(donor, examples):
            if TOKEN_IDS in needs:
                _check_token_ids(merges.models.target, donor, name)
            try:
                given[name] = ask_donor(run, console, merges, name, "search", asked)
            except AdammsError as error:
                on = (
                    ""
                    if DONORS in needs
                    else "\nTo search without the donors' own answers: search.donors=false"
                )
                raise AdammsError(f"{error}{on}") from error
    if DONORS in needs and not given:
        raise AdammsError(
            "this search looks at the donors' own answers, and no donor can be asked a question; "
            "search=trusted does without"
        )
    return given
