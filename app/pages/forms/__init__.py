"""The launch form: a target's parameters as inputs, and what was typed as a launch. Pure.

What the form shows is what is sent. A parameter with a default offers "default" (the name is left out of the request),
None where the target takes it, and a value; nothing that was typed is ever dropped in silence. Inputs go by the name of
their parameter: `arg-width` is the text, `use-width` the choice between the three, `as-width` "json" when the input is
JSON although the type would have a simpler one, `empty-width` "yes" when an empty text is meant, `zone-when` the offset
of a date and time. What is inside of an object or a list goes by its path: `arg-opts.size`, `arg-tags.0`.
"""

from app.pages.forms.code import curl, httpx_code, python, request_body, shortened
from app.pages.forms.fields import DEFAULT, JSON, MAX_RADIOS, NONE, VALUE, Choice, Field, fields
from app.pages.forms.inputs import Input, changed, inputs, prefilled, typed_of, veiled, without_secrets
from app.pages.forms.links import link_query
from app.pages.forms.options import (
    FRESH,
    LEFTOVERS,
    LOG_LEVELS,
    OPTIONS,
    START_METHODS,
    option_key,
    options,
    typed_options,
)
from app.pages.forms.reading import Arguments, Typed, arguments, placed
from app.supervisor.launches import Launch


def launch_of(target: str, parameters: JSON, typed: Typed) -> tuple[Launch, dict[str, str]]:
    """What was typed as a launch, and what is wrong by the name of its field; the launch is whole if nothing is."""
    given = arguments(parameters, typed)
    chosen, wrong = options(typed)
    launch = Launch(
        target=target,
        args=given.args,
        kwargs=given.kwargs,
        origin_id=typed.get("origin_id") or None,
        **chosen,
    )
    return launch, given.errors | wrong


__all__ = [
    "DEFAULT",
    "FRESH",
    "LEFTOVERS",
    "LOG_LEVELS",
    "MAX_RADIOS",
    "NONE",
    "OPTIONS",
    "START_METHODS",
    "VALUE",
    "Arguments",
    "Choice",
    "Field",
    "Input",
    "Typed",
    "arguments",
    "changed",
    "curl",
    "fields",
    "httpx_code",
    "inputs",
    "launch_of",
    "link_query",
    "option_key",
    "options",
    "placed",
    "prefilled",
    "python",
    "request_body",
    "shortened",
    "typed_of",
    "typed_options",
    "veiled",
    "without_secrets",
]
