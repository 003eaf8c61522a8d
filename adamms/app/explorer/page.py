"""The explorer's page: gradio's components, and what happens when one is touched.

The page loads nothing from elsewhere.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adamms.app.explorer import pieces
from adamms.app.explorer.dials import Dial, along, candidate_at
from adamms.app.explorer.explorer import Explorer
from adamms.app.explorer.pieces import Said
from adamms.data.example import Example, Label, Medium
from adamms.engines.answer import Answer
from adamms.engines.video import shown
from adamms.errors import AdammsError, cause, shortened
from adamms.merge.candidate import Candidate, short

if TYPE_CHECKING:
    from fastapi import FastAPI

STYLE = Path(__file__).with_name("style.css")
UPLOAD = "64mb"  # the largest picture
SIDE = 128  # pixels of a thumbnail
STEP = 0.01  # of a slider; the number beside it takes any value
OF_VIDEO = "the first frame of the video that is asked about"
NO_PICTURE = "no picture: a question alone"
NOT_ASKED = "Not asked yet: it is a model of its own, and the merge's engine ends while it answers."
NOT_SEEN = "Not asked: a language model alone sees no pictures, and needs a chat template."
Shown = dict[Any, Any]  # component -> what it shows now


def application(explorer: Explorer, labels: Mapping[str, Label], place: str) -> "FastAPI":
    """The page as an application that a server can run.

    Args:
        labels: example id -> the right answer, to be shown.
        place: the page's path.
    """
    import os

    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio looks at it when it is imported
    import gradio
    from fastapi import FastAPI

    blocks = Page(explorer, labels).blocks()
    return gradio.mount_gradio_app(
        FastAPI(openapi_url=None),
        blocks,
        path=place,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        max_file_size=UPLOAD,
        theme=gradio.themes.Base(
            primary_hue="blue",
            neutral_hue="slate",
            font=("system-ui", "sans-serif"),
            font_mono=("monospace",),
        ),
        css_paths=[STYLE],
    )


class Page:
    """What is on the page, and what answers it.

    Args:
        explorer: answers.
        labels: example id -> the right answer.
    """

    def __init__(self, explorer: Explorer, labels: Mapping[str, Label]) -> None:
        self.explorer = explorer
        self.labels = labels
        self._touches: Counter[str] = Counter()  # session -> how often something was touched in it
        self.pictured = [name for name, example in explorer.examples.items() if example.media]

    def blocks(self) -> Any:
        """Gradio's components with their events. One event at a time reaches the engine."""
        import gradio as gr

        explorer, models = self.explorer, self.explorer.merges.models
        first = next(iter(explorer.examples))
        title = f"{', '.join(donor.name for donor in models.donors.values())} into {models.target.name}"
        donated = ", ".join(str(donor.architecture) for donor in models.donors.values())
        formats = f"{donated} into {models.target.architecture}"
        with gr.Blocks(title=f"adamms: {title}", analytics_enabled=False, fill_width=True) as blocks:
            gr.HTML(pieces.heading(title, formats, explorer.merges.arithmetic))
            with gr.Row(equal_height=False):
                with gr.Column(scale=1, min_width=280):
                    self.picture = gr.HTML(elem_id="picture")
                    self.example = gr.Dropdown(
                        self._choices(), value=first, label="From the data", elem_id="example"
                    )
                    self.gallery = gr.Gallery(
                        self._thumbnails(),
                        label="Pictures of the data",
                        height=230,
                        allow_preview=False,
                        object_fit="contain",
                        buttons=[],
                        visible=bool(self.pictured),
                        elem_id="gallery",
                    )
                    self.upload = gr.File(
                        label="Your own picture", type="filepath", height=140, elem_id="upload"
                    )
                with gr.Column(scale=3, min_width=320):
                    with gr.Row(equal_height=True):
                        self.question = gr.Textbox(label="Question", scale=5, elem_id="question", max_lines=6)
                        ask = gr.Button("Ask", variant="primary", scale=1, min_width=80, elem_id="ask")
                    self.dials = [self._dial(dial) for dial in explorer.dials]
                    self.notice = gr.HTML(elem_id="notice")
                    self.answers = gr.HTML(elem_id="answers")
                    self.strip = gr.HTML(elem_id="strip")
                    with gr.Row():
                        donors = gr.Button("Ask the donors, too", elem_id="donors", size="sm")
                        use = gr.Button("Use this setting: write the model", elem_id="use", size="sm")
            self._connect(gr, blocks, ask, donors, use)
        return blocks

    def _connect(self, gr: Any, blocks: Any, ask: Any, donors: Any, use: Any) -> None:
        """What happens when something is touched."""
        plain: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        engine = plain | {"concurrency_limit": 1, "concurrency_id": "engine"}
        given = [self.example, self.upload, self.question, *self.dials]
        shown = [self.picture, self.notice, self.answers]
        pictured = self.pictured

        def picked(event: gr.SelectData) -> str:
            return pictured[event.index]

        def touch(request: gr.Request) -> None:
            self._touches[request.session_hash] += 1

        def strip(request: gr.Request, *given: Any) -> Iterator[str]:
            yield from self._along(request.session_hash, *given)

        self.gallery.select(picked, None, self.example, **plain)
        chosen = gr.on(
            [blocks.load, self.example.change],
            self._chosen,
            self.example,
            [self.upload, self.question],
            **plain,
        )
        touched = [self.upload.upload, self.upload.clear, self.upload.delete, ask.click, self.question.submit]
        touched += [dial.change for dial in self.dials]
        last: dict[str, Any] = {"trigger_mode": "always_last"}
        for answered in (
            chosen.then(self._answer, given, shown, **engine, **last),
            gr.on(touched, self._answer, given, shown, **engine, **last),
            donors.click(self._ask_donors, given, shown, **engine),
        ):
            answered.then(strip, given, self.strip, **engine, **last)
        gr.on([self.example.change, *touched, donors.click], touch, queue=False, **plain)
        use.click(self._use, given, self.notice, **engine)

    def _thumbnails(self) -> list[Any]:
        """The pictures of the data, small, as the models see them."""
        found = []
        for name in self.pictured:
            example = self.explorer.examples[name]
            image = shown(example.media[0])
            image.thumbnail((SIDE, SIDE))
            found.append(image)
        return found

    def _choices(self) -> list[tuple[str, str]]:
        return [(f"{e.task}: {shortened(e.question)}", e.id) for e in self.explorer.examples.values()]

    def _dial(self, dial: Dial) -> Any:
        import gradio as gr

        if dial.values:
            return gr.Dropdown(list(dial.values), value=dial.now, label=dial.name)
        slider: Any = gr.Slider(
            dial.least, dial.most, dial.now, step=STEP, label=dial.name, elem_id=f"dial-{dial.name}"
        )
        slider.preprocess = lambda value: value  # `candidate_at` looks at it; gradio's error names no dial
        return slider

    def _chosen(self, name: str) -> tuple[None, str]:
        """No picture of one's own any more, and the question of the data."""
        return None, self.explorer.examples[name].question

    def _example(self, name: str, picture: str | None, question: str) -> Example:
        """What is asked: that of the data where nothing is changed about it."""
        known = self.explorer.examples[name]
        if picture is None and question == known.question:
            return known
        return self.explorer.own(question, *(known.media if picture is None else [Path(picture)]))

    def _answer(self, name: str, picture: str | None, question: str, *values: float) -> Iterator[Shown]:
        """The answers, each as soon as it is there."""
        try:
            yield {self.picture: self._pictured(name, picture), self.notice: ""}
            example = self._example(name, picture, question)
            candidate = candidate_at(self.explorer.dials, values)
            target = self.explorer.target(example)
            yield {self.answers: self._side_by_side(example, candidate, target, None)}
            merged = self.explorer.merged(candidate, example)
            yield {self.answers: self._side_by_side(example, candidate, target, merged)}
        except Exception as error:  # noqa: BLE001  (told on the page, whatever it is)
            yield {self.notice: pieces.notice(_told(error, picture)), self.answers: ""}

    def _along(
        self, session: str, name: str, picture: str | None, question: str, *values: float
    ) -> Iterator[str]:
        """The answers along the grid, until something is touched."""
        touches = self._touches[session]
        try:
            example = self._example(name, picture, question)
            candidate = candidate_at(self.explorer.dials, values)
        except Exception:  # noqa: BLE001  (which `_answer` tells)
            yield ""
            return
        try:
            key, _ = along(self.explorer.run.grid, candidate)
            for found in self.explorer.along(candidate, example):
                if self._touches[session] != touches:
                    return
                cells = [(each.value(key), answer, each == candidate) for each, answer in found.items()]
                yield pieces.strip(short(key), cells)
        except Exception as error:  # noqa: BLE001  (told on the page, whatever it is)
            if self._touches[session] == touches:
                yield pieces.notice(_told(error, picture))

    def _ask_donors(self, name: str, picture: str | None, question: str, *values: float) -> Iterator[Shown]:
        try:
            self.explorer.ask_donors([self._example(name, picture, question)])
        except Exception as error:  # noqa: BLE001
            yield {self.notice: pieces.notice(_told(error, picture))}
        else:
            yield from self._answer(name, picture, question, *values)

    def _use(self, name: str, picture: str | None, question: str, *values: float) -> str:
        """Write the model."""
        try:
            candidate = candidate_at(self.explorer.dials, values)
            folder = self.explorer.use(candidate)
        except Exception as error:  # noqa: BLE001
            return pieces.notice(cause(error))
        return pieces.notice(f"{candidate}: the merged model is in {folder}", bad=False)

    def _pictured(self, name: str, picture: str | None) -> str:
        """The picture, and the label if it is that of the data."""
        from adamms.report.page.images import data_address

        known = self.explorer.examples[name]
        media: tuple[Medium, ...] = known.media if picture is None else (Path(picture),)
        label = "" if picture is not None else str(self.labels.get(name, ""))
        try:
            addresses = [data_address(medium) for medium in media]
        except AdammsError:  # which the answer tells
            return pieces.picture([], "no picture", label)
        about = "what is asked about" if media else NO_PICTURE
        about = OF_VIDEO if media and not isinstance(media[-1], Path) else about
        return pieces.picture(addresses, about, label)

    def _side_by_side(
        self, example: Example, candidate: Candidate, target: Answer, merged: Answer | None
    ) -> str:
        """The target's answer, the merge's and the donors'."""
        explorer = self.explorer

        def said(
            who: str, what: str, kind: str, answer: Answer | None, donor: str = "", note: str = ""
        ) -> Said:
            words = () if answer is None else explorer.words(answer, donor)
            return Said(who, what, kind, answer, words, "" if answer else note)

        rows = [
            said("Target", explorer.merges.models.target.name, "target", target),
            said(
                "Merge",
                str(candidate) if candidate.parameters else f"alpha {candidate}",
                "merge",
                merged,
                note="...",
            ),
        ]
        for name, model in explorer.merges.models.donors.items():
            answer = explorer.donor(name, example)
            rows.append(said(f"Donor {name}", model.name, "donor", answer, name, self._unsaid(name, example)))
        return pieces.answers(rows)

    def _unsaid(self, name: str, example: Example) -> str:
        """Why a donor has no answer."""
        if not self.explorer.can_be_asked(name, example):
            return NOT_SEEN
        return self.explorer.silent.get(name, NOT_ASKED)


def _told(error: Exception, picture: str | None) -> str:
    """What went wrong, with an uploaded picture by its own name."""
    return cause(error).replace(picture, Path(picture).name) if picture else cause(error)
