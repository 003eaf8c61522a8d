"""mode=respond: fill the store with one candidate's answers, so that many jobs can share a search's work."""

from dataclasses import replace

from adamms.app.asker import Asker
from adamms.app.json_files import write_json
from adamms.app.live import check_runnable, check_target, live, tell_of_store
from adamms.app.modes.common import map_models
from adamms.app.output import result_of
from adamms.app.questions import load_questions
from adamms.app.scores import answered
from adamms.app.settings import Run
from adamms.errors import AdammsError
from adamms.report.console import Console
from adamms.report.result import Result


def respond(run: Run, console: Console) -> Result:
    """Have one candidate answer what mode=search asks; write respond.json.

    Labelled examples and the control are answered too, where the evaluation after that search would ask for
    them. Donors run as models of their own, so the search itself asks them.
    """
    if run.store is None:
        raise AdammsError("mode=respond keeps answers in the store, but store=null; give a folder: store=...")
    if run.candidate is None:
        raise AdammsError("mode=respond needs a candidate: candidate=0.3, or {key of merge: value}")
    candidate = run.candidate
    run.merge.at(candidate)
    questions = load_questions(run, console)
    scored = run.scorer is not None
    wanted = questions.asked(scored)
    check_target(run, console, wanted)
    merges = map_models(run, console)
    check_runnable(run, merges.models.target)
    console.begin()
    merges = merges.measured([candidate], console.stage)

    with live(run, console, merges.models.target) as engine:
        asker = Asker(console, merges, engine, {}, (), {}, run.cache / "disturbed")
        asker.fill(f"respond {candidate}", asker.answers, [candidate], merges.at, wanted)
        if scored and questions.labelled and run.score_control:
            title = f"respond {candidate} control"
            asker.fill(title, asker.control, [candidate], merges.control, questions.labelled)
        tell_of_store(console, engine)
        counts = {"found": engine.found, "generated": engine.generated}
    file = run.output / "respond.json"
    write_json(file, {"candidate": candidate.to_json(), **counts})
    console.say(f"respond: {file}")
    return replace(result_of(merges, console), answered=answered(questions, asker.answers))
