"""Chat templates: as transformers renders them, and within limits whatever they do."""

import time
from datetime import datetime

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from adamms.engines import template
from adamms.engines.template import TemplateFailure, TemplateRenderer
from adamms.errors import AdammsError

PARTS = [{"type": "image"}, {"type": "text", "text": "Is <b>ä</b> it?"}]
MESSAGES = [{"role": "user", "content": PARTS}, {"role": "assistant", "content": "yes"}]
TOKENS = {"bos_token": "<s>", "extra": ["<a>", "<b>"]}
SAME = {
    "blocks are trimmed": "a\n  {% if true %}\n  b\n  {% endif %}\nc {{- bos_token -}} \n d\n",
    "loop controls": "{% for i in range(9) %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}"
    "{% if i == 4 %}{% break %}{% endif %}{% endfor %}",
    "tojson": "{{ messages | tojson }}{{ messages | tojson(indent=2, ensure_ascii=true, sort_keys=true) }}",
    "generation": "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ messages[1].content }}{{ x }}"
    "{% endgeneration %}{{ x }}",
    "no tools": "{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}{{ missing }}",
    "tokens": "{{ bos_token }}{{ extra }}",
    "no escapes": "{{ messages[0].content[1].text }}",
    "today": "{{ strftime_now('%Y') }}",
    "namespace and macros": "{% set n = namespace(i=0) %}{% macro m(x) %}<{{ x }}>{% endmacro %}"
    "{% for p in messages[0].content %}{% set n.i = n.i + 1 %}{{ m(p.type) }}{% endfor %}{{ n.i }}",
}


def rendered(source: str) -> str:
    return TemplateRenderer(TOKENS, "/models/m").render(source, MESSAGES)


@pytest.mark.parametrize("name", SAME)
def test_texts_are_those_of_transformers(name: str) -> None:
    chat = {"conversations": [MESSAGES], "add_generation_prompt": True, **TOKENS}
    (expected,), _ = render_jinja_template(chat_template=SAME[name], **chat)
    assert rendered(SAME[name]) == expected
    assert str(datetime.now().year) in rendered(SAME["today"])


GREEDY = {
    "a text of 10 GB": ("{{ 'a' * 10**10 }}", "takes more than 512 MB of memory"),
    "a long text": ("{{ 'a' * 10**7 }}", "writes more than 1,000,000 characters"),
    "long by pieces": ("{% for i in range(99999) %}{{ messages[1].content * 9 }}{% endfor %}", "writes more"),
    "doubled": (
        "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "takes more than 512 MB of memory",
    ),
    "a wide number": ("{{ '%99999999999d' % 1 }}", "takes more than 512 MB of memory"),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "calls itself without an end"),
    "nested loops": (
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "takes more than 1 s",
    ),
    "a number that takes hours": ("{{ 9 ** (10**9) }}", "takes more than 1 s"),
    "only for some questions": (
        "{% if 'ä' in messages[0].content[1].text %}{{ 9 ** (messages | length * 10**9) }}{% endif %}",
        "takes more than 1 s",
    ),
}


@pytest.mark.parametrize("name", GREEDY)
def test_a_template_that_takes_too_much_is_not_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source, message = GREEDY[name]
    monkeypatch.setattr(template, "SECONDS", 1 if "1 s" in message else 60)
    start = time.monotonic()
    with pytest.raises(AdammsError) as caught:
        rendered(source)
    assert not isinstance(caught.value, TemplateFailure)
    assert str(caught.value).startswith(f"/models/m: its chat template {message}")
    assert time.monotonic() - start < 60


def test_after_one_that_took_too_much_the_next_is_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "SECONDS", 1)
    renderer, source = TemplateRenderer({}, "m"), "{{ 9 ** (messages[0].content | length * 10**9) }}"
    with pytest.raises(AdammsError):
        renderer.render(source, [{"role": "user", "content": "question"}])
    monkeypatch.setattr(template, "SECONDS", 60)
    assert renderer.render(source, [{"role": "user", "content": ""}]) == "1"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% if %}", "line 1: Expected an expression, got 'end of statement block'"),
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ nothing.of.this }}", "'nothing' is undefined"),
        ("{{ messages + 1 }}", 'TypeError: can only concatenate list (not "int") to list'),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ messages.append(1) }}", "access to attribute 'append' of 'list' object is unsafe"),
        ("{% include 'x' %}", "no loader for this environment specified"),
        ("{% no_such_tag %}", "line 1: Encountered unknown tag 'no_such_tag'"),
    ],
)
def test_what_the_template_says_is_told_with_the_model(source: str, message: str) -> None:
    with pytest.raises(TemplateFailure) as caught:
        rendered(source)
    assert str(caught.value).startswith("/models/m: its chat template fails: ")
    assert message in str(caught.value)


def test_the_process_ends_with_the_template() -> None:
    renderer = TemplateRenderer({}, "m")
    assert renderer.render("x", []) == "x"
    child = renderer._child
    assert child is not None
    del renderer
    assert child._process.poll() is not None
