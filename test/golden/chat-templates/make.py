"""What Python's jinja2, set up as transformers does, makes of published chat templates.

    python3 make.py FOLDER-OF-TEMPLATES > answers.json

The answers are kept as the first 16 hex digits of their SHA-256 ("error" where the template raises), so that
the templates, which have many authors, stay out of the repository. test/unit/text-template-corpus.test.ts compares.
"""

import datetime
import hashlib
import json
import pathlib
import sys

import jinja2
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

USER = {"role": "user", "content": "Is it raining in Köln?"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Its name"},
                    "days": {"type": "integer", "enum": [1, 3]},
                },
                "required": ["city"],
            },
        },
    }
]
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "call00001",
            "type": "function",
            "function": {"name": "get_weather", "arguments": {"city": "Köln", "days": 1}},
        }
    ],
}
RESULT = {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": "rain"}
CASES = {
    "user": {"messages": [USER]},
    "turns": {
        "messages": [
            {"role": "system", "content": "Answer briefly."},
            USER,
            {"role": "assistant", "content": "Yes."},
            {"role": "user", "content": "  And  now?\n"},
        ]
    },
    "no_generation_prompt": {
        "messages": [USER, {"role": "assistant", "content": "Yes."}],
        "add_generation_prompt": False,
    },
    "tools": {"messages": [USER], "tools": TOOLS},
    "tool_result": {"messages": [USER, CALL, RESULT], "tools": TOOLS},
    "no_thinking": {"messages": [USER], "kwargs": {"enable_thinking": False, "thinking": False}},
}


class Generation(Extension):
    """{% generation %} blocks render as what is in them."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        block = jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body)
        return block.set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    now = datetime.datetime(2025, 7, 10, 12)
    env.globals["strftime_now"] = now.strftime
    return env


def render(template, case):
    return template.render(
        messages=case["messages"],
        tools=case.get("tools"),
        documents=None,
        add_generation_prompt=case.get("add_generation_prompt", True),
        bos_token="<s>",
        eos_token="</s>",
        **case.get("kwargs", {}),
    )


def main():
    answers = {}
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.jinja")):
        template = environment().from_string(path.read_text())
        answers[path.stem] = {}
        for name, case in CASES.items():
            try:
                text = render(template, case)
                answer = hashlib.sha256(text.encode()).hexdigest()[:16]
            except Exception:  # whatever it is, the template refused
                answer = "error"
            answers[path.stem][name] = answer
    print(json.dumps({"cases": CASES, "answers": answers}, ensure_ascii=False, indent=1))


main()
