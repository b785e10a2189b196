#!/usr/bin/env python3
"""Random Jinja programs, and any templates given, through jinja2 and through node-agent side by side.

usage: compare_templates.py --bin NODE_AGENT [--seed N] [--count N] [--show N] [TEMPLATE.jinja ...]
                                                                          needs: pip install jinja2

Programs use all statements, filters, tests and methods with all their arguments. Given templates are rendered over
the conversations of ../data/text/chat. The text must be equal, or both must refuse. Some differences are known and
wanted (see the README of the text folder), so differences are counted and shown; the exit status only tells of a crash.
Exits with 77 (skipped) where the library is not installed.
"""

import argparse, json, os, random, signal, subprocess, sys, tempfile

try:
    from jinja_reference import NOW, environment, with_thoughts
except ImportError:
    print('jinja2 is not installed')
    sys.exit(77)

BLANKS = repr(' \n')

VARS = {
    'a': 1, 'b': 2.5, 'n': None, 't': True, 's': 'Hello, World', 'u': 'Straße ñ 你好 👍', 'e': '', 'l': [3, 1, 2],
    'el': [], 'ls': ['b', 'A', 'c', 'a'], 'd': {'x': 1, 'y': [1, 2], 'z': {'k': 'v'}}, 'ed': {},
    'ld': [{'n': 'bob', 'age': 3}, {'n': 'Al', 'age': 7}, {'n': 'al', 'age': 3}], 'neg': -7, 'big': 10**17,
    'f2': 1e16, 'sp': '  pad\n two\tx  ', 'html': '<a href="x">&\'</a>', 'ml': 'one\ntwo\n\nthree',
    'nested': [[1, 2], [3, [4]]], 'mix': [1, 'x', None, 2.0, True], 'items': [1], 'z0': 0, 'fz': 0.0,
    'dd': {'items': 1, 'b': 'q', 'a': 'r', 'C': 's'}, 'ws': 'a\n  \n\tb\r\nc\x0b\u2028d\n\n', 'ws2': '\n',
    'num': '42', 'fnum': '3.7',
}
NAMES = list(VARS)


class Program:
    """Writes one random template; the variables are those of VARS."""

    def __init__(self, rng):
        self.r = rng
        self.loop = 0
        self.macros = []
        self.locals = []

    def p(self, x):
        return self.r.random() < x

    def c(self, xs):
        return self.r.choice(xs)

    def name(self):
        x = self.r.random()
        if self.locals and x < 0.3:
            return self.c(self.locals)
        if self.loop and x < 0.45:
            return 'loop.' + self.c(
                [
                    'index', 'index0', 'revindex', 'revindex0', 'first', 'last', 'length', 'depth', 'depth0',
                    'previtem', 'nextitem', "cycle('p','q','r')", "changed(i)", 'nope',
                ]
            )
        if x > 0.97:
            return 'undef' + self.c(['', '1'])
        return self.c(NAMES)

    def lit(self):
        k = self.r.randrange(12)
        if k < 3:
            return str(self.c([0, 1, 2, 3, -1, 7, 10, 100, 12345678901234567890, 2**63 - 1, 1_000]))
        if k < 5:
            return self.c(
                ['0.5', '1.0', '2.25', '1e3', '1e16', '1e-7', '123456789.123', '0.1', '1_0.5', '3.14159', '1e22']
            )
        if k < 9:
            return self.string()
        return self.c(
            [
                'true', 'false', 'none', 'True', 'None', '[]', '{}', '()', '[1, 2, 3]', "{'a': 1, 'b': [2]}",
                '(1, 2)', "['x']", "(1,)", "[1, [2, 'q']]",
            ]
        )

    def string(self):
        s = self.c(
            [
                '', 'a', 'abc', 'x', 'Hello World', ' pad ', 'é', '你好', "it\\'s", '\\n', 'a,b,c', '%s', '%d-%s',
                '%5.2f', '{}', '{0}', '<b>', 'foo bar baz', 'o', 'l', ' ', ',', 'AbC', '12', '0x1f', '3.5', 'n',
                'age', 'x.y', '\\t', '\\u00e9', 'ß', '1', 'Ab cd-ef', "a\\\\b", '-',
            ]
        )
        q = self.c(["'", "'", '"'])
        if q == '"':
            s = s.replace('"', '\\"').replace("\\'", "'")
        return q + s + q

    def args(self, d, *opts):
        """opts: (name, generator) in order; some positional, then some named."""
        n = self.r.randrange(len(opts) + 1) if opts else 0
        out = []
        named = False
        for i, (name, gen) in enumerate(opts):
            if i >= n and self.p(0.8):
                continue
            if i != len(out) or self.p(0.3):
                named = True
            v = gen() if callable(gen) else self.c(gen)
            out.append(f'{name}={v}' if named and name else v)
        return '(' + ', '.join(out) + ')' if out or self.p(0.3) else ''

    def filt0(self, d):
        E_ = lambda: self.expr(d - 1)
        b = lambda: self.c(['true', 'false'])
        i = lambda: self.c(['0', '1', '2', '3', '-1', '5', '10', '80'])
        S = self.string
        at = lambda: self.c(["'n'", "'age'", "'x'", '0', '1', "'n,age'", "'z.k'", "'nope'", "'y.0'"])
        k = self.c(
            [
                'abs', 'attr', 'batch', 'capitalize', 'center', 'default', 'd', 'dictsort', 'escape', 'e',
                'filesizeformat', 'first', 'float', 'forceescape', 'format', 'groupby', 'indent', 'int', 'items',
                'join', 'last', 'length', 'count', 'list', 'lower', 'map', 'max', 'min', 'pprint', 'reject',
                'rejectattr', 'replace', 'reverse', 'round', 'safe', 'select', 'selectattr', 'slice', 'sort',
                'string', 'striptags', 'sum', 'title', 'tojson', 'tojson', 'trim', 'truncate', 'unique', 'upper',
                'urlencode', 'wordcount', 'wordwrap', 'xmlattr',
            ]
        )
        tail = ''
        if k == 'attr':
            return f"attr({at()})"
        if k == 'batch':
            return 'batch' + (self.args(d, ('linecount', i), ('fill_with', S)) or '(2)') + '|list'
        if k == 'slice':
            return 'slice' + (self.args(d, ('slices', i), ('fill_with', S)) or '(2)') + '|list'
        if k == 'center':
            return 'center' + self.args(d, ('width', i))
        if k in ('default', 'd'):
            return k + self.args(d, ('default_value', E_), ('boolean', b))
        if k == 'dictsort':
            return k + self.args(d, ('case_sensitive', b), ('by', ["'key'", "'value'"]), ('reverse', b))
        if k == 'filesizeformat':
            return k + self.args(d, ('binary', b))
        if k == 'float':
            return k + self.args(d, ('default', self.lit))
        if k == 'int':
            return k + self.args(d, ('default', self.lit), ('base', ['10', '16', '2', '8', '0']))
        if k == 'format':
            return 'format' + self.c(['', '(1)', "('x', 2)", f'({E_()})', "(a=1)"])
        if k == 'groupby':
            return (
                'groupby'
                + (self.args(d, ('attribute', at), ('default', self.lit), ('case_sensitive', b)) or "('age')")
                + '|list'
            )
        if k == 'indent':
            return k + self.args(d, ('width', [*'0248', "'> '"]), ('first', b), ('blank', b))
        if k == 'join':
            return k + self.args(d, ('d', S), ('attribute', at))
        if k == 'map':
            return (
                'map'
                + self.c(
                    [
                        "('upper')", "(attribute='n')", "(attribute='age', default=0)", "('int')", "('string')",
                        "('length')", "('replace', 'a', 'b')", "('default', 'q')", "('nope')", "", "('first')",
                        "('tojson')", "('round', 1)", "(attribute='x.y')", "('title')", "('attr', 'n')",
                    ]
                )
                + '|list'
            )
        if k in ('max', 'min'):
            return k + self.args(d, ('case_sensitive', b), ('attribute', at))
        if k in ('reject', 'select'):
            return (
                k
                + self.c(
                    [
                        "", "('odd')", "('string')", "('defined')", "('gt', 1)", "('equalto', 'a')",
                        "('in', [1,'x'])", "('none')", "('nope')", "('number')", "('true')", "('==', 2)",
                        "('sameas', none)",
                    ]
                )
                + '|list'
            )
        if k in ('rejectattr', 'selectattr'):
            return (
                k
                + self.c(
                    [
                        "('n')", "('age', 'odd')", "('n', 'equalto', 'al')", "('age', '>', 3)", "()",
                        "('nope', 'defined')", "('n', 'lower')", "('n', 'in', ['bob'])", "('x.y')",
                    ]
                )
                + '|list'
            )
        if k == 'replace':
            return 'replace' + (self.args(d, ('old', S), ('new', S), ('count', i)) or "('l', 'L')")
        if k == 'round':
            return k + self.args(
                d, ('precision', ['0', '1', '2', '-1', '-2', '3']),
                ('method', ["'common'", "'ceil'", "'floor'", "'bad'"]),
            )
        if k == 'sort':
            return k + self.args(d, ('reverse', b), ('case_sensitive', b), ('attribute', at))
        if k == 'sum':
            return k + self.args(d, ('attribute', at), ('start', self.lit))
        if k == 'tojson':
            return k + self.args(
                d, ('ensure_ascii', b), ('indent', ['0', '1', '2', '4', 'none']),
                ('separators', ["(',', ':')", "(', ', ': ')", 'none', "(' ; ', '=')"]), ('sort_keys', b),
            )
        if k == 'trim':
            return k + self.args(d, ('chars', S))
        if k == 'truncate':
            return k + self.args(
                d, ('length', ['3', '5', '10', '0', '8']), ('killwords', b), ('end', ["'...'", "''", "'…'"]),
                ('leeway', ['0', '1', '5', 'none']),
            )
        if k == 'unique':
            return k + self.args(d, ('case_sensitive', b), ('attribute', at)) + '|list'
        if k == 'wordwrap':
            return k + self.args(
                d, ('width', ['3', '5', '10', '79', '1']), ('break_long_words', b),
                ('wrapstring', ["'|'", "'\\n'", 'none']), ('break_on_hyphens', b),
            )
        if k == 'xmlattr':
            return k + self.args(d, ('autospace', b))
        return k

    def test(self, d):
        k = self.c(
            [
                'boolean', 'callable', 'defined', 'divisibleby', 'eq', 'escaped', 'even', 'false', 'filter', 'float',
                'ge', 'gt', 'in', 'integer', 'iterable', 'le', 'lower', 'lt', 'mapping', 'ne', 'none', 'number',
                'odd', 'sameas', 'sequence', 'string', 'test', 'true', 'undefined', 'upper', 'equalto', 'greaterthan',
                'lessthan',
            ]
        )
        if k in ('divisibleby', 'eq', 'ge', 'gt', 'le', 'lt', 'ne', 'sameas', 'equalto', 'greaterthan', 'lessthan'):
            return k + self.c([f'({self.expr(d-1)})', ' ' + self.lit()])
        if k == 'in':
            return f'in({self.expr(d-1)})'
        return k

    def filt(self, d):
        f = self.filt0(d)
        return f[:-5] if f.endswith('|list') and self.p(0.25) else f

    def method(self, d):
        S = self.string
        i = lambda: self.c(['0', '1', '2', '-1', '3', '5', '10', 'none'])
        m = self.c(
            [
                'capitalize', 'casefold', 'center', 'count', 'endswith', 'expandtabs', 'find', 'format', 'index',
                'isalnum', 'isalpha', 'isascii', 'isdecimal', 'isdigit', 'isidentifier', 'islower', 'isnumeric',
                'isprintable', 'isspace', 'istitle', 'isupper', 'join', 'ljust', 'lower', 'lstrip', 'partition',
                'removeprefix', 'removesuffix', 'replace', 'rfind', 'rindex', 'rjust', 'rpartition', 'rsplit',
                'rstrip', 'split', 'splitlines', 'startswith', 'strip', 'swapcase', 'title', 'upper', 'zfill', 'get',
                'items', 'keys', 'values', 'copy', 'append', 'pop', 'count', 'index', 'update', 'setdefault', 'x',
                'n', 'translate', 'encode', 'bit_length', 'is_integer', 'hex', '__class__', 'as_integer_ratio',
                'conjugate', 'real',
            ]
        )
        if m in ('x', 'n', '__class__', 'real'):
            return m
        if m in ('center', 'ljust', 'rjust'):
            return f"{m}({i()}{self.c(['', ', ' + repr('*'), ', ' + S()])})"
        if m in ('count', 'find', 'index', 'rfind', 'rindex', 'startswith', 'endswith'):
            return f"{m}({self.c([S(), S(), self.expr(d-1)])}{self.c(['', '', ', ' + i(), ', ' + i() + ', ' + i()])})"
        if m in ('expandtabs', 'zfill'):
            return f"{m}({self.c(['', '3', '10', '0'])})"
        if m == 'format':
            return f"format({self.c(['', '1', S(), 'a=1, b=2', '1, 2, x=3', self.expr(d-1)])})"
        if m == 'join':
            return f"join({self.c(['ls', '[' + S() + ',' + S() + ']', self.expr(d-1)])})"
        if m in ('lstrip', 'rstrip', 'strip'):
            return f"{m}({self.c(['', '', S(), 'none', BLANKS, repr('Hd')])})"
        if m in ('partition', 'rpartition', 'removeprefix', 'removesuffix'):
            return f"{m}({S()})"
        if m == 'replace':
            return f"replace({S()}, {S()}{self.c(['', ', 1', ', 0', ', -1'])})"
        if m in ('split', 'rsplit'):
            return f"{m}({self.c(['', S(), S() + ', 1', 'none', 'none, 1', 'maxsplit=1', 'sep=' + S()])})"
        if m == 'splitlines':
            return f"{m}({self.c(['', 'true', 'keepends=true'])})"
        if m == 'get':
            return f"get({S()}{self.c(['', ', ' + self.lit()])})"
        if m in ('append', 'update', 'setdefault', 'pop'):
            return f"{m}({self.c(['', '0', S()])})"
        return m + '()'

    def expr(self, d=3):
        if d <= 0:
            return self.name() if self.p(0.6) else self.lit()
        k = self.r.randrange(26)
        E_ = lambda: self.expr(d - 1)
        if k < 5:
            return f'{self.paren(d)}|{self.filt(d)}'
        if k < 7:
            return f"{self.paren(d)}.{self.method(d)}"
        if k == 7:
            return f'{self.paren(d)}[{E_()}]'
        if k == 8:
            return f"{self.paren(d)}[{self.c(['', '0', '1', '-1', '-2', '2', 'none'])}:{self.c(['', '0', '2', '-1', '5'])}{self.c(['', ':', ':-1', ':2', ':0', ':1'])}]"
        if k < 11:
            return f"{self.paren(d)} {self.c(['+', '-', '*', '/', '//', '%', '**', '~', '~', '+', '+', '%'])} {self.paren(d)}"
        if k < 13:
            return f"{E_()} {self.c(['==', '!=', '<', '<=', '>', '>=', 'in', 'not in'])} {self.paren(d)}" + (
                f" {self.c(['<', '==', '>='])} {self.paren(d)}" if self.p(0.2) else ''
            )
        if k == 13:
            return f"{E_()} {self.c(['and', 'or'])} {E_()}"
        if k == 14:
            return f'not {E_()}'
        if k == 15:
            return f"{self.paren(d)} is {self.c(['', 'not '])}{self.test(d)}"
        if k == 16:
            return f"{E_()} if {E_()}" + (f' else {E_()}' if self.p(0.7) else '')
        if k == 17:
            return f"[{', '.join(E_() for _ in range(self.r.randrange(4)))}]"
        if k == 18:
            return (
                '{' + ', '.join(f'{self.c([self.string(), self.lit()])}: {E_()}' for _ in range(self.r.randrange(3)))
                + '}'
            )
        if k == 19:
            return f"({E_()}, {E_()})"
        if k == 20:
            return f"-{self.paren(d)}"
        if k == 21:
            return self.c(
                [
                    'range(3)', 'range(1, 4)', 'range(5, 0, -2)', 'dict(a=1, b=2)', f'dict({E_()})',
                    'namespace(a=1).a', f'range({E_()})', "joiner(',')()", "cycler('a','b').next()", 'lipsum',
                    'dict(d, q=1)', 'range(3)|list', "strftime_now('%Y-%m-%d %H:%M %j %B %b %A %a %d %p %I %y %e')",
                ]
            )
        if k == 22 and self.macros:
            m, n = self.c(self.macros)
            return f"{m}({', '.join(E_() for _ in range(max(0, n + self.r.randrange(-1, 2))))}{self.c(['', ''])})"
        if k == 23:
            return f"({E_()})"
        if k == 24:
            return f"{self.c(['d', 'ld', 'nested', 's', 'u', 'dd'])}{self.c(['.x', '.z.k', '[0]', '[-1]', '[0].n', '.nope', '.nope.nope', '[99]', '.0', '.items()', '.items', '.keys()|list', '.values()|list', '[1:]', '[::-1]', '.y[1]', '.b'])}"
        return self.name()

    def paren(self, d):
        x = self.expr(d - 1)
        return f'({x})' if self.p(0.5) or any(o in x for o in ' -') else x

    def ws(self):
        return self.c(['', '', '', '-', '-', '+']), self.c(['', '', '', '-', '-'])

    def tag(self, body):
        a, b = self.ws()
        return '{%' + a + ' ' + body + ' ' + b + '%}'

    def text(self):
        return self.c(
            ['', ' ', '\n', '\n  ', 'x', ' text ', 'a\n', '\n\n', '  \n', '\t', 'é', '{', '}', '#', '%', 'A B\n  C']
        )

    def out(self, d):
        a, b = self.ws()
        return '{{' + a + ' ' + self.expr(d) + ' ' + b + '}}'

    def body(self, d, n=3):
        return ''.join(self.stmt(d) + self.text() for _ in range(self.r.randrange(1, n + 1)))

    def stmt(self, d):
        k = self.r.randrange(24)
        if d <= 0 or k < 9:
            return self.out(3)
        if k < 12:
            s = self.tag(f'if {self.expr(2)}') + self.body(d - 1, 2)
            while self.p(0.3):
                s += self.tag(f'elif {self.expr(2)}') + self.body(d - 1, 2)
            if self.p(0.4):
                s += self.tag('else') + self.body(d - 1, 2)
            return s + self.tag('endif')
        if k < 15:
            rec = self.p(0.12)
            target = self.c(['i', 'i', 'i', 'i, j', 'k, v'])
            it = self.c(
                [
                    'l', 'ls', 'ld', 'range(3)', 'd.items()', 'd', 'nested', 'el', 's', self.expr(2), 'd|dictsort',
                    "ld|groupby('age')",
                ]
            )
            s = self.tag(
                f"for {target} in {it}" + (f' if {self.expr(1)}' if self.p(0.2) else '')
                + (' recursive' if rec else '')
            )
            self.loop += 1
            old = self.locals
            self.locals = old + ['i']
            s += self.body(d - 1, 3)
            if rec:
                s += '{{ loop(i) if i is iterable and i is not string and loop.depth < 4 }}'
            if self.p(0.15):
                s += self.tag(f"if {self.expr(1)}") + self.tag(self.c(['break', 'continue'])) + self.tag('endif')
            self.loop -= 1
            self.locals = old
            if self.p(0.2):
                s += self.tag('else') + self.body(d - 1, 1)
            return s + self.tag('endfor')
        if k < 18:
            v = self.c(['v1', 'v2', 'a', 'q'])
            if self.p(0.2):
                s = (
                    self.tag(f"set {v}" + (f'|{self.filt(1)}' if self.p(0.3) else '')) + self.body(d - 1, 2)
                    + self.tag('endset')
                )
            elif self.p(0.15):
                s = self.tag(f"set {v}, w = {self.expr(2)}, {self.expr(2)}")
            elif self.p(0.2):
                s = (
                    self.tag('set ns = namespace(c=0, s="")') + self.tag(f'set ns.c = ns.c + {self.expr(1)}')
                    + '{{ ns.c }}'
                )
            else:
                s = self.tag(f'set {v} = {self.expr(3)}')
            self.locals = self.locals + [v]
            return s
        if k == 18:
            m = self.c(['m1', 'm2'])
            n = self.r.randrange(3)
            ps = ['p', 'q', 'r'][:n]
            ds = [p if j < n - 1 or self.p(0.5) else f'{p}={self.expr(1)}' for j, p in enumerate(ps)]
            old = self.locals
            self.locals = ps + self.c([[], ['varargs'], ['kwargs'], ['caller']])
            oldloop, self.loop = self.loop, 0
            b = self.body(d - 1, 2)
            self.locals = old
            self.loop = oldloop
            self.macros = self.macros + [(m, n)]
            return (
                self.tag(f"macro {m}({', '.join(ds)})") + b + self.tag('endmacro') + '{{ ' + m
                + f"({', '.join(self.expr(1) for _ in range(n))})" + ' }}'
            )
        if k == 19 and self.macros:
            m, n = self.c(self.macros)
            return (
                self.tag(f"call{self.c(['', '(cc)', '(cc=1)'])} {m}({', '.join(self.expr(1) for _ in range(n))})")
                + self.body(d - 1, 1) + self.tag('endcall')
            )
        if k == 20:
            return self.tag(f'filter {self.filt(1)}') + self.body(d - 1, 2) + self.tag('endfilter')
        if k == 21:
            return self.c(
                [
                    '{# c #}', '{#- c -#}', '{#\n multi\n#}\n', '{% raw %}{{ x }} {%{% endraw %}',
                    '{%- raw -%} {{ y }} {%- endraw -%}', '{#+ c #}\n', '  {# c #}  \n',
                ]
            )
        if k == 22:
            return (
                self.tag(f'with {self.c(["w1", "a"])} = {self.expr(1)}') + self.body(d - 1, 2) + self.tag('endwith')
            )
        return (
            self.tag('generation') + self.body(d - 1, 2) + self.tag('endgeneration') if self.p(0.5) else self.out(3)
        )

    def program(self):
        return self.text() + self.body(3, 4)


class Slow(Exception):
    pass


def stop(*_):
    raise Slow()


def theirs(env, template, given):
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        return {'text': env.from_string(template).render(**json.loads(json.dumps(given)))}
    except (Slow, RecursionError, MemoryError):
        return None  # our bounds are others
    except Exception as e:
        return {'error': f'{type(e).__name__}: {e}'}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def ours(binary, template, requests):
    with tempfile.NamedTemporaryFile('w', suffix='.jinja', encoding='utf-8', newline='') as file:
        file.write(template)
        file.flush()
        text = ''.join(json.dumps(r) + '\n' for r in requests).encode()
        done = subprocess.run(
            [binary, 'render', '--template', file.name], input=text, capture_output=True, timeout=120
        )
    if done.returncode not in (0, 1):
        sys.exit(f'node-agent crashed ({done.returncode}) on {template!r}')
    answers = [json.loads(l) for l in done.stdout.decode().split('\n') if l.strip()]
    return answers + [{'error': done.stderr.decode().strip()}] * (len(requests) - len(answers))


def prints_an_address(text):
    return any(part in text.lower() for part in (' at 0x', ' object', '<function', '<class', '<macro', '<cycler'))


def same(want, got):
    if 'error' in want:
        return 'error' in got
    return want['text'] == got.get('text') or prints_an_address(want['text'])


def cases(args):
    """(name, template, requests of ours, what jinja2 is given)"""
    for seed in range(args.seed, args.seed + args.count):
        program = Program(random.Random(seed)).program()
        yield f'seed {seed}', program, [{'messages': [], 'kwargs': VARS, 'now': NOW}], [VARS]
    data = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'data', 'text', 'chat')
    conversations = json.load(open(data + '/conversations.json', encoding='utf-8'))
    special = {'bos_token': '<s>', 'eos_token': '</s>'}
    for path in args.templates:
        requests, given = [], []
        for c in conversations.values():
            for generate in (False, True):
                common = {'messages': c['messages'], 'tools': c.get('tools'), 'add_generation_prompt': generate}
                requests.append(dict(common, special_tokens=special, kwargs=c.get('kwargs', {}), now=NOW))
                common['messages'] = with_thoughts(c['messages'])
                given.append({'documents': None, **common, **special, **c.get('kwargs', {})})
        yield path, open(path, encoding='utf-8', newline='').read(), requests, given


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--bin', required=True)
    parser.add_argument('--seed', type=int, default=0, help='the first one')
    parser.add_argument('--count', type=int, default=1000, help='of programs')
    parser.add_argument('--show', type=int, default=20, help='differences to print')
    parser.add_argument('templates', nargs='*')
    args = parser.parse_args()
    signal.signal(signal.SIGALRM, stop)
    env, compared, different = environment(), 0, 0
    for name, template, requests, given in cases(args):
        for variables, got in zip(given, ours(args.bin, template, requests)):
            want = theirs(env, template, variables)
            if not want:
                continue
            compared += 1
            if same(want, got):
                continue
            different += 1
            if different <= args.show:
                print(f'{name}: {template[:300]!r}\n  want {str(want)[:200]}\n  got  {str(got)[:200]}')
    print(f'{compared} compared, {different} differ')


main()
