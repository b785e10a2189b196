#!/usr/bin/env python3
"""Makes node-agent/engine/text/unicode_tables.c from the Unicode Character Database.

usage: make_unicode_tables.py UCD > node-agent/engine/text/unicode_tables.c

UCD is a folder with UnicodeData.txt, DerivedCoreProperties.txt, Scripts.txt, SpecialCasing.txt, GraphemeBreakProperty.txt
(in auxiliary/) and emoji-data.txt (in emoji/) of https://www.unicode.org/Public/16.0.0/ucd/, all in one place, and DerivedAge.txt of
that version or a later one.
"""
import bisect, sys

VERSION = 16.0
PCRE2 = 14.0  # what the oldest supported PCRE2 (10.42) knows
UTF8PROC = 15.0  # what the oldest supported utf8proc (2.8) knows
OLDEST = 8.0  # what the reference's oldest table knows
SCRIPTS = 9.0  # what the reference's table of scripts knows
SCRIPTS_THEN = {0x589: 'Common', 0x61C: 'Common', 0x953: 'Devanagari', 0x954: 'Devanagari'}  # which have others now


def ranges(folder, name):
    for line in open(f'{folder}/{name}', encoding='utf-8'):
        fields = [f.strip() for f in line.split('#')[0].split(';')]
        if len(fields) > 1:
            first, _, last = fields[0].partition('..')
            yield int(first, 16), int(last or first, 16), fields[1]


def per_rune(folder, name, keep=None):
    out = {}
    for first, last, value in ranges(folder, name):
        if keep is None or value == keep:
            out.update(dict.fromkeys(range(first, last + 1), value))
    return out


class Database:
    def __init__(self, folder):
        self.age = {c: float(v) for c, v in per_rune(folder, 'DerivedAge.txt').items()}
        self.category, self.combining, self.decomposition, self.lower = {}, {}, {}, {}
        for line in open(f'{folder}/UnicodeData.txt', encoding='utf-8'):
            f = line.split(';')
            last = int(f[0], 16)
            first = start if f[1].endswith('Last>') else last
            start = last
            for c in range(first, last + 1):
                self.category[c] = f[2]
            self.combining[last] = int(f[3])
            self.decomposition[last] = f[5]
            if f[13]:
                self.lower[last] = int(f[13], 16)
        self.script = per_rune(folder, 'Scripts.txt')
        self.cluster = per_rune(folder, 'GraphemeBreakProperty.txt')
        flags = [('DerivedCoreProperties.txt', f) for f in ('Alphabetic', 'Uppercase', 'Lowercase')]
        self.flags = [per_rune(folder, *f) for f in flags + [('emoji-data.txt', 'Emoji')]]

    def since(self, version):
        """Assigned after `version`."""
        return sorted(c for c in self.category if version < self.age[c] <= VERSION)

    def kind(self, c):
        """All that patterns ask for, in falling order of how often they do; bytes first, as text must keep its length."""
        size = len(chr(c).encode())
        flags = tuple(c in f for f in self.flags)
        return size, self.category[c], flags, self.script.get(c), self.cluster.get(c)


def alike(db):
    """(first, last, like): characters newer than PCRE2's table and the nearest older one of the same kind."""
    old = {}
    for c in sorted(c for c in db.category if db.age[c] <= PCRE2 and not 0xD800 <= c < 0xE000):
        kind = db.kind(c)
        for precision in range(2, len(kind) + 1):
            old.setdefault(kind[:precision], []).append(c)
    out = []
    for c in db.since(PCRE2):
        kind = db.kind(c)
        known = next(old[kind[:p]] for p in range(len(kind), 1, -1) if kind[:p] in old)
        like = known[max(0, bisect.bisect(known, c) - 1)]
        if out and out[-1][1] == c - 1 and out[-1][2] == like:
            out[-1] = (out[-1][0], c, like)
        else:
            out.append((c, c, like))
    return out


def lowercase(db):
    """(first, last, lower case of first): those that utf8proc does not know."""
    out = []
    for c in db.since(UTF8PROC):
        if c not in db.lower:
            continue
        if out and out[-1][1] == c - 1 and db.lower[c] - out[-1][2] == c - out[-1][0]:
            out[-1] = (out[-1][0], c, out[-1][2])
        else:
            out.append((c, c, db.lower[c]))
    return out


def dated(db):
    """(first, last, age): marks, punctuation, format characters, and what normal forms change."""
    parts = set()
    for c, d in db.decomposition.items():
        if d and db.age[c] > OLDEST:
            parts |= {int(p, 16) for p in d.split() if p[0] != '<'}
    out = []
    for c in db.since(OLDEST):
        if not (
            db.category[c][0] in 'MP' or db.category[c] == 'Cf' or db.combining.get(c) or db.decomposition.get(c)
            or c in parts
        ):
            continue
        age = int(db.age[c])
        if out and out[-1][1] == c - 1 and out[-1][2] == age:
            out[-1] = (out[-1][0], c, age)
        else:
            out.append((c, c, age))
    return out


def scripts(db):
    """(first, last, number of the script), as the pre-tokenizer UnicodeScripts takes them: Japanese is all one, and the
    blank is of none."""
    names, out = {}, []
    for c in sorted(db.script):
        if db.age[c] > SCRIPTS or c == 0x20:
            continue
        name = SCRIPTS_THEN.get(c, db.script[c])
        if name in ('Hiragana', 'Katakana') or c == 0x30FC:
            name = 'Han'
        number = names.setdefault(name, len(names) + 1)
        if out and out[-1][1] == c - 1 and out[-1][2] == number:
            out[-1] = (out[-1][0], c, number)
        else:
            out.append((c, c, number))
    return out


def special_cases(folder):
    """(rune, title case, upper case) where that is more than one character, whatever stands around it."""
    for line in open(f'{folder}/SpecialCasing.txt', encoding='utf-8'):
        fields = [f.strip() for f in line.split('#')[0].split(';')]
        if len(fields) == 5:
            rune, _, title, upper = ([int(c, 16) for c in f.split()] for f in fields[:4])
            if len(title) > 1 or len(upper) > 1:
                yield rune[0], title, upper


def write_special_cases(rows):
    print('\n/* the title case and the upper case of those where it is several characters */')
    print('const px_rune_case px_runes_cased[] = {')
    for rune, title, upper in sorted(rows):
        cells = (', '.join(f'0x{c:x}' for c in t) for t in (title, upper))
        print('    {{0x{:x}, {{{}}}, {{{}}}}},'.format(rune, *cells))
    print('};\nconst size_t px_runes_cased_count = sizeof px_runes_cased / sizeof *px_runes_cased;')


def table(name, what, rows, form):
    print(f'\n/* {what} */\nconst px_rune_range {name}[] = {{')
    line = '   '
    for first, last, value in rows:
        cell = f' {{0x{first:x}, 0x{last:x}, {form.format(value)}}},'
        if len(line) + len(cell) > 100:
            print(line)
            line = '   '
        line += cell
    print(f'{line}\n}};\nconst size_t {name}_count = sizeof {name} / sizeof *{name};')


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    db = Database(sys.argv[1])
    print('/* unicode_tables.c - see unicode_tables.h.')
    print(' *')
    print(f' * Made by tests/golden/text/make_unicode_tables.py from the Unicode Character Database {VERSION}.')
    print(' */')
    print('/* clang-format off */')
    print('#include "engine/text/unicode_tables.h"')
    table('px_runes_alike', 'newer than Unicode 14: an older character of the same kind', alike(db), '0x{:x}')
    table('px_runes_lower', 'newer than Unicode 15: the lower case of the first', lowercase(db), '0x{:x}')
    table('px_runes_dated', 'newer than Unicode 8: the version they came with', dated(db), '{}')
    table('px_runes_scripts', 'up to Unicode 9: the number of the script', scripts(db), '{}')
    write_special_cases(special_cases(sys.argv[1]))
    print('/* clang-format on */')


main()
