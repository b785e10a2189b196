"""Jinja as transformers sets it up for chat templates: the environment, and the clock that tests use."""
import datetime, json

import jinja2.nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = '2025-03-14T15:09:26'


class Generation(Extension):
    tags = {'generation'}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(['name:endgeneration'], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method('_body'), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


class Raised(Exception):
    pass


def raise_exception(message):
    raise Raised(message)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    env.filters['tojson'] = lambda x, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    env.globals['raise_exception'] = raise_exception
    env.globals['strftime_now'] = lambda format: datetime.datetime.fromisoformat(NOW).strftime(format)
    return env


def with_thoughts(messages):
    """What transformers (5.23) does before it renders: a message's thoughts get both names that templates read."""
    out = []
    for message in messages:
        names = ('reasoning_content', 'thinking', 'reasoning')
        thoughts = next((message[name] for name in names if message.get(name) is not None), None)
        if thoughts is not None:
            message = {'thinking': thoughts, **message, 'reasoning_content': thoughts}
        out.append(message)
    return out
