#!/usr/bin/env python3
"""Random tokenizers on hostile text, through node-agent and through the tokenizers library side by side.

usage: compare_tokenizers.py --bin NODE_AGENT [--seed N] [--count N] [--show N]     needs: pip install tokenizers

Each seed is one tokenizer.json (a model with random settings over pieces of the text it will see, normalizer,
pre-tokenizer, post-processor, decoder, added tokens) with 60 texts and 30 lists of ids. Ids and text must be equal,
and what one refuses the other must refuse. Texts use characters of Unicode 3.2, which all tables agree on.
Exits with 77 (skipped) where the library is not installed.
"""

import argparse, base64, io, json, os, random, subprocess, sys, tempfile, unicodedata

try:
    from tokenizers import Tokenizer
except ImportError:
    print('tokenizers is not installed')
    sys.exit(77)
try:
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2
except ImportError:
    sentencepiece = None


def is_old(c):
    return unicodedata.ucd_3_2_0.category(c) != 'Cn' or ord(c) & 0xFFFE == 0xFFFE


WORDS = [
    'Hello', 'world', "don't", "I'LL", "they'RE", 'der', 'Straße', 'İstanbul', 'ΣΊΣΥΦΟΣ', 'naïve', 'café',
    'cafe\u0301', 'привет', 'мир', '你好', '世界', '日本語', 'テスト', 'ｶﾀｶﾅ', 'こんにちは', '한국어', '안녕', 'مرحبا', 'שלום', 'नमस्ते',
    'สวัสดี', 'ﬁne', '①②', 'Ⅷ', '½', 'x²', 'K', 'Å', 'ǅ', 'ŉ', 'ẞ', 'ﷺ', '㍿', '㋿', 'ａｂｃ', '１２３', '٠١٢', '१२३', '𝟘𝟙',
    '𝒜𝓑', '123', '1234567', '3.14', '1,000,000', '0x1F', '_under_score', 'camelCase', 'HTMLParser', 'snake_case',
    'a.b', 'foo(bar)', '//', '...', '!!!', '==', '<|im_start|>', '<s>', '</s>', '[MASK]', '<0x0A>', '[UNK]', '▁', 'Ġ',
    '##ing', '</w>', 'ing', '👍', '👩‍👩‍👧', '🇩🇪', '👍🏽', '🏴󠁧󠁢󠁥󠁮󠁧󠁿', '☃', '€', '$5', '£', '＄', '。', '、', '「', '—', '–',
    '“q”', '‘', '’s', "'s", "'S", 'ſ', "'ſ", 'l’été', '\u200d', '\u200c', '\ufeff', '\u00ad', '\u2028', '\u2029',
    '\u0085', '\u00a0', '\u3000', '\u2009', '\u202f', '\u180e', '\u200b', '\u1680', '\x01', '\x1b', '\x1c', '\x1f',
    '\x7f', '\x80', '\x9f', '\ufffd', '\uffff', '\U0010ffff', '\ue000', '\U000e0001', '\U0001f9ff', '\u0378',
    '\u0300', '\u0301\u0323', '\u20dd', '\u093f', '\u0e33', '\u1100\u1161\u11a8', '\ud7a3', '\u0f71\u0f72',
    '\u1e9b\u0323', '\u2126', '\u212b', '\u01c4', '\u0149', '\u0390', '\u1f80', '\ufb03', '\U0001d15e', '\u0344',
    '\u0958', '\U0002f800', '\u2ff0', '\u31ef', '\U00031350', '\U0001fae8', '\u061c', '\u2066', '\ufe0f', '\ufe00',
    '\U000e0100', '\u1f88', '\u03f4', '\u0130', '\u0131', '\u1e9e', '\u10a0', '\u13a0', '\uab70', '\u2c2f', '\ua7c0',
    '\ua7c1', '\U0001e900', '\U00010570', '\U00016e40', 'ᾳ', '\u0345', '\u00b2', '\u00bc', '\u2155', '\u2460',
    '\u3007', '\u3021', '\u0bf0', '\u24b6', '\U0001f150', '\u203f', '\u2040', '\uff3f', '\u0488', '\u180b',
]
WORDS = [w for w in WORDS if all(map(is_old, w))]
SPACES = [
    ' ', ' ', ' ', ' ', '  ', '   ', '\n', '\n\n', '\r\n', '\r', '\t', ' \n', '\n ', '\t\t', '    \n  ', '\u00a0',
    '\u3000', '', '', '\x0b', '\x0c',
]


def rune(rng):
    while True:
        c = rng.choice([0, 0, 0, 0, 0, 1, 2, 14, 15, 16]) << 16 | rng.randrange(65536)
        if not 0xD800 <= c < 0xE000 and is_old(chr(c)):
            return chr(c)


def text(rng, extra=()):
    kind = rng.random()
    if kind < 0.03:
        return ''
    if kind < 0.08:
        return rng.choice(WORDS) * rng.randrange(1, 60)
    if kind < 0.14:
        return ''.join(rune(rng) for _ in range(rng.randrange(1, 12)))
    if kind < 0.18:
        return ''.join(rng.choice('aA1 .\n\u0301é') for _ in range(rng.randrange(1, 40)))
    if kind < 0.21:
        return ''.join(chr(rng.randrange(0x20)) if rng.random() < 0.5 else 'x' for _ in range(8))
    out = []
    for _ in range(rng.randrange(1, 14)):
        if rng.random() < 0.12:
            out.append(rune(rng))
        elif extra and rng.random() < 0.2:
            out.append(rng.choice(extra))
        else:
            out.append(rng.choice(WORDS))
        if rng.random() < 0.75:
            out.append(rng.choice(SPACES))
    if rng.random() < 0.2:
        out.insert(0, rng.choice(SPACES))
    return ''.join(out)


CONTR = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
PATTERNS = {
    'gpt2': r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    'gpt2-possessive': r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    'cl100k': r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    'cl100k-poss': r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    'cl100k-tik': r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    'qwen2': r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    'qwen35': r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    'o200k': r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    'tekken': r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    'kimi': r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    'ds-num': r"\p{N}{1,3}", 'ds-cjk': r"[一-龥぀-ゟ゠-ヿ]+", 'ds-nl': r"[\r\n]", 'ds-sp': r"\s+$",
    'ds-cjk2': r"[一-龥ࠀ-一가-퟿]+",
    'ds3': "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    'ds-p': r"\s?\p{P}+", 'ds-punct': r"\s?[!-/:-~！-／：-～‘-‟　-。]+", 'ds-l': r"\s?\p{L}+",
    'bloom': r" ?[^(\s|[.,!?…。，、।۔،])]+", 'digits3': r"[0-9][0-9][0-9]", 'olmo': r"(?=(\d{3})+(?!\d))",
    'smol': r"\p{N}", 'right3': r"\d{1,3}(?=(?:\d{3})*\b)", 'word': r"\w+|[^\w\s]+", 'w-neg': r"\W+", 'd': r"\d",
    'D': r"\D+", 's': r"\s+", 'S': r"\S+", 'dot': r".+", 'b': r"\b", 'B': r"\B", 'a': r"[a-z]+", 'i': r"(?i)[a-z]+",
    'bos': r"^", 'eos': r"$", 'z': r"\z|\A", 'anchor': r"^.", 'posix': r"[[:alpha:]]+|[[:punct:]]",
    'posix2': r"[[:space:]]+|[[:upper:]]|[[:digit:]]+", 'posix3': r"[^[:alnum:]]+", 'lit': 'a',
    'lb': r"(?<=\d)(?=\p{L})", 'lb2': r"(?<!\p{L})\p{L}", 'star': r"x*",
    'script': r"\p{Greek}+|\p{Cyrillic}+|\p{Han}", 'neg': r"\P{L}+", 'caret': r"\p{^L}+", 'h': r"\h+", 'R': r"\R",
    'X': r"\X", 'nested': r"[a-z&&[^aeiou]]+", 'nested2': r"[\p{L}[0-9]]+", 'uni': r"[\u4e00-\u9fff]+|\x{1F600}",
    'atomic': r"(?>\s+)\S", 'alt': r"(?:ab|a)(?:c|bcd)?", 'lazy': r"a+?b??", 'interval': r"\p{L}{2,3}+",
    'interval2': r"a{,2}b",
    'exaone': r"[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
    'falcon': r"[\p{P}\$\+<=>\^~\|`]+", 'ipunct': r"[!-/]", 'cond': r"(?i:straße|ß|k)", 'icase': r"(?i)ſ|ǆ|σ",
    'emoji': r"\p{Emoji}", 'hira': r"[ぁ-ん]+|[ァ-ヶー]+",
    'llama4': r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    'gemma': r" ",
    'phi4': r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    'grok': r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    'chameleon': r"(?:\p{L}\p{M}?)+|[\p{Sc}\p{Sm}]|\p{Zs}+",
}
REAL = [
    'gpt2', 'cl100k', 'cl100k-poss', 'cl100k-tik', 'qwen2', 'qwen35', 'o200k', 'tekken', 'kimi', 'ds3', 'bloom',
    'exaone', 'phi4', 'falcon',
]
BEHAVIOURS = ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous']


def flip(rng, p=0.5):
    return rng.random() < p


def pattern(rng):
    if flip(rng, 0.2):
        return {'String': rng.choice([' ', 'a', '\n', '▁', 'll', '.', "'", '  '])}
    return {'Regex': PATTERNS[rng.choice(REAL if flip(rng) else list(PATTERNS))]}


CHARSMAP = None


def charsmap():
    """SentencePiece's compiled rules, from small models trained for them; none without that library."""
    global CHARSMAP
    if CHARSMAP is None and not sentencepiece:
        CHARSMAP = []
    if CHARSMAP is None:
        CHARSMAP = []
        for rule in ('nmt_nfkc', 'nmt_nfkc_cf', 'nfkc', 'nfkc_cf'):
            out = io.BytesIO()
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(['hello world', 'abc def'] * 50), model_writer=out, vocab_size=20,
                normalization_rule_name=rule, hard_vocab_limit=False, minloglevel=3,
            )
            model = sentencepiece_model_pb2.ModelProto.FromString(out.getvalue())
            CHARSMAP.append(base64.b64encode(model.normalizer_spec.precompiled_charsmap).decode())
    return CHARSMAP


def normalizer(rng, depth=0):
    kinds = [
        'NFC', 'NFD', 'NFKC', 'NFKD', 'Lowercase', 'Strip', 'StripAccents', 'BertNormalizer', 'Replace', 'Prepend',
        'Precompiled', 'Nmt', 'ByteLevel', 'Sequence', 'Sequence',
    ]
    kind = rng.choice(kinds)
    if kind == 'Sequence':
        if depth > 1:
            return {'type': 'NFC'}
        return {'type': 'Sequence', 'normalizers': [normalizer(rng, depth + 1) for _ in range(rng.randrange(0, 4))]}
    n = {'type': kind}
    if kind == 'Strip':
        n |= {'strip_left': flip(rng), 'strip_right': flip(rng)}
    if kind == 'BertNormalizer':
        n |= {
            'clean_text': flip(rng), 'handle_chinese_chars': flip(rng),
            'strip_accents': rng.choice([None, True, False]), 'lowercase': flip(rng),
        }
    if kind == 'Replace':
        n |= {'pattern': pattern(rng), 'content': rng.choice(['', ' ', '▁', 'xy', 'é', '$1', '\\1'])}
    if kind == 'Prepend':
        n |= {'prepend': rng.choice(['▁', ' ', 'abc'])}
    if kind == 'Precompiled':
        if not charsmap():
            return {'type': 'NFKC'}
        n |= {'precompiled_charsmap': rng.choice(charsmap())}
    return n


def pretok(rng, depth=0):
    kinds = [
        'ByteLevel', 'ByteLevel', 'Metaspace', 'Metaspace', 'Split', 'Split', 'Split', 'Split', 'Digits',
        'Punctuation', 'Whitespace', 'WhitespaceSplit', 'CharDelimiterSplit', 'BertPreTokenizer', 'FixedLength',
        'UnicodeScripts', 'Sequence', 'Sequence', 'Sequence', 'Sequence',
    ]
    kind = rng.choice(kinds)
    if kind == 'Sequence':
        if depth > 1:
            return {'type': 'Whitespace'}
        return {'type': 'Sequence', 'pretokenizers': [pretok(rng, depth + 1) for _ in range(rng.randrange(0, 4))]}
    p = {'type': kind}
    if kind == 'ByteLevel':
        p |= {'add_prefix_space': flip(rng), 'trim_offsets': flip(rng), 'use_regex': flip(rng)}
    if kind == 'Metaspace':
        p |= {
            'replacement': rng.choice(['▁', '▁', '▁', '_', 'Ġ']),
            'prepend_scheme': rng.choice(['always', 'first', 'never']), 'split': flip(rng),
        }
    if kind == 'Split':
        p |= {
            'pattern': pattern(rng), 'behavior': rng.choice(BEHAVIOURS + ['Isolated'] * 4), 'invert': flip(rng, 0.25),
        }
    if kind == 'Digits':
        p |= {'individual_digits': flip(rng)}
    if kind == 'Punctuation':
        p |= {'behavior': rng.choice(BEHAVIOURS)}
    if kind == 'CharDelimiterSplit':
        p |= {'delimiter': rng.choice(' a.\n▁é')}
    if kind == 'FixedLength':
        p |= {'length': rng.randrange(1, 7)}
    return p


def decoder(rng, depth=0):
    kinds = [
        'ByteLevel', 'ByteLevel', 'WordPiece', 'Metaspace', 'Metaspace', 'ByteFallback', 'Fuse', 'Strip', 'Replace',
        'BPEDecoder', 'CTC', 'Sequence', 'Sequence', 'Sequence', 'Sequence',
    ]
    kind = rng.choice(kinds)
    if kind == 'Sequence':
        if depth > 1:
            return {'type': 'Fuse'}
        if flip(rng, 0.3):
            return {
                'type': 'Sequence',
                'decoders': [
                    {'type': 'Replace', 'pattern': {'String': '▁'}, 'content': ' '}, {'type': 'ByteFallback'},
                    {'type': 'Fuse'}, {'type': 'Strip', 'content': ' ', 'start': 1, 'stop': 0},
                ],
            }
        return {'type': 'Sequence', 'decoders': [decoder(rng, depth + 1) for _ in range(rng.randrange(0, 4))]}
    d = {'type': kind}
    if kind == 'ByteLevel':
        d |= {'add_prefix_space': flip(rng), 'trim_offsets': flip(rng), 'use_regex': flip(rng)}
    if kind == 'WordPiece':
        d |= {'prefix': rng.choice(['##', '##', '@', '']), 'cleanup': flip(rng)}
    if kind == 'Metaspace':
        d |= {
            'replacement': rng.choice(['▁', '▁', '_']), 'prepend_scheme': rng.choice(['always', 'first', 'never']),
            'split': flip(rng),
        }
    if kind == 'Strip':
        d |= {'content': rng.choice([' ', 'a', '▁', '.']), 'start': rng.randrange(3), 'stop': rng.randrange(3)}
    if kind == 'Replace':
        d |= {'pattern': pattern(rng), 'content': rng.choice(['', ' ', 'x', '▁'])}
    if kind == 'BPEDecoder':
        d |= {'suffix': rng.choice(['</w>', '▁', 'e'])}
    if kind == 'CTC':
        d |= {
            'pad_token': rng.choice(['<pad>', 'a', 'Hello']), 'word_delimiter_token': rng.choice(['|', 'e', '▁']),
            'cleanup': flip(rng),
        }
    return d


def post(rng, vocab, depth=0):
    tokens = list(vocab.items())
    one = lambda: rng.choice(tokens)
    kind = rng.choice(
        [
            'TemplateProcessing', 'TemplateProcessing', 'ByteLevel', 'RobertaProcessing', 'BertProcessing',
            'Sequence', 'Sequence',
        ]
    )
    if kind == 'Sequence':
        if depth > 1:
            return {'type': 'ByteLevel', 'add_prefix_space': True, 'trim_offsets': True, 'use_regex': True}
        return {'type': 'Sequence', 'processors': [post(rng, vocab, depth + 1) for _ in range(rng.randrange(0, 4))]}
    if kind == 'ByteLevel':
        return {'type': kind, 'add_prefix_space': flip(rng), 'trim_offsets': flip(rng), 'use_regex': flip(rng)}
    if kind in ('RobertaProcessing', 'BertProcessing'):
        p = {'type': kind, 'sep': list(one()), 'cls': list(one())}
        if kind[0] == 'R':
            p |= {'trim_offsets': flip(rng), 'add_prefix_space': flip(rng)}
        return p
    names = [one() for _ in range(3)]
    special = {n: {'id': n, 'ids': [i] if flip(rng, 0.8) else [i, one()[1]], 'tokens': [n]} for n, i in names}
    for v in special.values():
        v['tokens'] = [v['id']] * len(v['ids'])
    single = [{'SpecialToken': {'id': rng.choice(names)[0], 'type_id': 0}} for _ in range(rng.randrange(0, 3))]
    single += [{'Sequence': {'id': 'A', 'type_id': 0}}]
    single += [{'SpecialToken': {'id': rng.choice(names)[0], 'type_id': 0}} for _ in range(rng.randrange(0, 3))]
    return {
        'type': kind, 'single': single, 'pair': single + [{'Sequence': {'id': 'B', 'type_id': 1}}],
        'special_tokens': special,
    }


def byte_alphabet():
    bs = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    out, n = {b: chr(b) for b in bs}, 0
    for b in range(256):
        if b not in out:
            out[b] = chr(256 + n)
            n += 1
    return out


BYTES = byte_alphabet()


def pieces_of(tok, rng, texts):
    """What the model gets to see of these texts."""
    out = []
    for t in texts:
        try:
            n = tok.normalizer.normalize_str(t) if tok.normalizer else t
            out += [p for p, _ in tok.pre_tokenizer.pre_tokenize_str(n)] if tok.pre_tokenizer else [n]
        except Exception:
            pass
    return [p for p in out if p] or ['a']


def model(rng, words):
    kind = rng.choice(['BPE', 'BPE', 'BPE', 'BPE', 'BPE', 'BPE', 'Unigram', 'Unigram', 'WordPiece', 'WordLevel'])
    hexes = [f'<0x{b:02X}>' for b in range(256)]
    if kind == 'BPE':
        prefix = rng.choice([None, None, None, None, '', '##', '@'])
        suffix = rng.choice([None, None, None, None, '', '</w>', '$'])
        vocab, merges, seen = {}, [], set()

        def add(t):
            if t not in vocab:
                vocab[t] = len(vocab)

        unk = rng.choice([None, '<unk>', '[UNK]', 'a'])
        if unk:
            add(unk)
        fallback = flip(rng, 0.4)
        if fallback:
            for h in hexes:
                if flip(rng, 0.999):
                    add(h)
        if flip(rng):
            for c in BYTES.values():
                add(c)
        splits = []
        for w in words[:400]:
            s = [(prefix or '') * (i > 0) + c + (suffix or '') * (i == len(w) - 1) for i, c in enumerate(w[:30])]
            for c in s:
                if flip(rng, 0.95):
                    add(c)
            splits.append([c for c in s if c in vocab])
        for _ in range(rng.randrange(0, 250)):
            s = rng.choice(splits)
            if len(s) < 2:
                continue
            i = rng.randrange(len(s) - 1)
            a, b = s[i], s[i + 1]
            # the reference cuts the prefix of the right part off when it joins
            joined = a + (b[len(prefix) :] if prefix and b.startswith(prefix) else b)
            if prefix and not b.startswith(prefix):
                continue
            if ' ' in a or ' ' in b:
                pass
            add(joined)
            merges.append((a, b))
            s[i : i + 2] = [joined]
        if flip(rng, 0.3):
            for w in rng.sample(words, min(20, len(words))):
                add(w)
        pairs = flip(rng) or any(' ' in a or ' ' in b for a, b in merges)
        if flip(rng, 0.3):
            rng.shuffle(merges)
        if flip(rng, 0.1) and merges:
            merges.append(merges[0])
        return {
            'type': 'BPE', 'dropout': None, 'unk_token': unk, 'continuing_subword_prefix': prefix,
            'end_of_word_suffix': suffix, 'fuse_unk': flip(rng), 'byte_fallback': fallback,
            'ignore_merges': flip(rng, 0.4), 'vocab': vocab,
            'merges': [list(m) for m in merges] if pairs else [f'{a} {b}' for a, b in merges],
        }
    subs = []
    for w in words[:400]:
        for _ in range(3):
            i = rng.randrange(len(w))
            j = min(len(w), i + rng.randrange(1, 7))
            subs.append((i, w[i:j]))
        if flip(rng, 0.7):
            subs += [(0, w[0])] + [(1, c) for c in w[1:10]]
    if kind == 'Unigram':
        fallback = flip(rng, 0.5)
        seen = dict.fromkeys(['<unk>'] + (hexes if fallback else []) + [s for _, s in subs])
        grid = rng.choice([None, 1, 2])
        vocab = [
            [
                s,
                (
                    rng.choice([0.0, -1.0]) if s in hexes
                    else round(-rng.random() * 12, grid) if grid else -rng.random() * 12
                ),
            ]
            for s in seen
        ]
        unk = rng.choice([0, 0, 0, None, len(vocab) - 1])
        return {'type': 'Unigram', 'unk_id': unk, 'vocab': vocab, 'byte_fallback': fallback}
    prefix = rng.choice(['##', '##', '##', '', '@@'])
    if kind == 'WordPiece':
        seen = dict.fromkeys(['[UNK]'] + [(prefix if i else '') + s for i, s in subs])
        return {
            'type': kind, 'unk_token': '[UNK]', 'continuing_subword_prefix': prefix,
            'max_input_chars_per_word': rng.choice([100, 100, 5, 1, 0]), 'vocab': {t: i for i, t in enumerate(seen)},
        }
    seen = dict.fromkeys(['[UNK]'] + words[:200])
    return {
        'type': kind, 'vocab': {t: i for i, t in enumerate(seen)},
        'unk_token': rng.choice(['[UNK]', '[UNK]', 'missing']),
    }


ADDED = [
    '<|im_start|>', '<|im_end|>', '<s>', '</s>', '<pad>', '[MASK]', 'ing', 'Hello', 'hello', 'HELLO', ' ', '  ',
    '    ', '\n', '\n\n', '\t', 'é', 'É', 'e\u0301', '<', '<|', '<|im', '|>', '你好', '好', '👍', 'don', "don't", 'der',
    'a', 'ß', 'Å', '<0x0A>', '▁', '▁▁', 'Ġ', 'ﬁ', 'x y', ' x', 'x ', 'İ', '1', '12', '.', '_', '\u200d', '\u0301',
    'Σ', '[UNK]', '<unk>', '½', 'ö', '',
]


def added(rng, vocab):
    out, used = [], dict(vocab)
    for t in rng.sample(ADDED, rng.randrange(0, 14)):
        if t in used:
            i = used[t]
        else:
            i = max(used.values(), default=-1) + 1
            used[t] = i
        out.append(
            {
                'id': i, 'content': t, 'single_word': flip(rng, 0.25), 'lstrip': flip(rng, 0.25),
                'rstrip': flip(rng, 0.25), 'normalized': flip(rng, 0.5), 'special': flip(rng, 0.5),
            }
        )
    out.sort(key=lambda a: a['id'])
    return out


def make(rng):
    t = {
        'version': '1.0', 'truncation': None, 'padding': None, 'added_tokens': [],
        'normalizer': normalizer(rng) if flip(rng, 0.5) else None,
        'pre_tokenizer': pretok(rng) if flip(rng, 0.85) else None, 'post_processor': None,
        'decoder': decoder(rng) if flip(rng, 0.9) else None,
        'model': {'type': 'WordLevel', 'vocab': {'a': 0}, 'unk_token': 'a'},
    }
    if flip(rng, 0.1):
        t['truncation'] = {'direction': 'Right', 'max_length': 4, 'strategy': 'LongestFirst', 'stride': 0}
        t['padding'] = {
            'strategy': {'Fixed': 16}, 'direction': 'Right', 'pad_to_multiple_of': None, 'pad_id': 0,
            'pad_type_id': 0, 'pad_token': '<pad>',
        }
    probe = Tokenizer.from_str(json.dumps(t))
    words = pieces_of(probe, rng, [text(rng) for _ in range(60)])
    rng.shuffle(words)
    t['model'] = model(rng, words)
    vocab = (
        t['model']['vocab'] if isinstance(t['model']['vocab'], dict)
        else {s: i for i, (s, _) in enumerate(t['model']['vocab'])}
    )
    t['added_tokens'] = added(rng, vocab)
    if flip(rng, 0.6):
        t['post_processor'] = post(rng, vocab)
    return t


def ours(binary, folder, requests, special):
    command = [binary, 'tokenize', '--model', folder] + (['--special'] if special else [])
    done = subprocess.run(
        command, input=''.join(json.dumps(r) + '\n' for r in requests).encode(), capture_output=True, timeout=120
    )
    answers = [json.loads(l) for l in done.stdout.decode('utf-8').split('\n') if l.strip()]
    if done.returncode not in (0, 1):
        return f'exit {done.returncode}: {done.stderr.decode()[-400:]}'
    if len(answers) != len(requests):
        return done.stderr.decode('utf-8', 'replace').strip() or 'no answer'
    return answers


def valid(s):
    try:
        s.encode()
        return True
    except UnicodeEncodeError:
        return False


def check(binary, seed, show):
    rng = random.Random(seed)
    try:
        config = make(rng)
        ref = Tokenizer.from_str(json.dumps(config))
    except BaseException as e:
        return ('skip', str(e)[:100])
    ref.no_truncation()
    ref.no_padding()
    patterns = [
        ref.normalizer.normalize_str(a['content']) if a['normalized'] and ref.normalizer else a['content']
        for a in config['added_tokens']
    ]
    if len(set(patterns)) < len(patterns):
        return ('skip', 'two added tokens look alike: the reference takes any')
    if json.dumps(config['post_processor']).count('Processing"') > 1:
        return ('skip', 'no published tokenizer has two processors that add ids')
    extra = [a['content'] for a in config['added_tokens'] if a['content']]
    texts = [text(rng, extra) for _ in range(60)]
    size = max(ref.get_vocab(True).values()) + 1
    lists = [[rng.randrange(size) for _ in range(rng.randrange(1, 12))] for _ in range(30)]
    requests = [{'text': t} for t in texts] + [{'ids': l} for l in lists]
    want = []
    for s in (False, True):
        try:
            for t in texts:
                try:
                    ids = ref.encode(t, add_special_tokens=s).ids
                except Exception as e:
                    want.append(('error', str(e)))
                    continue
                want.append((ids, ref.decode(ids, skip_special_tokens=False)))
            for l in lists:
                want.append((None, ref.decode(l, skip_special_tokens=False)))
        except BaseException as e:
            return ('skip', 'reference panics: ' + str(e)[:80])
    with tempfile.TemporaryDirectory() as folder:
        json.dump(config, open(folder + '/tokenizer.json', 'w'), ensure_ascii=rng.random() < 0.5)
        got = []
        for s in (False, True):
            answer = ours(binary, folder, requests, s)
            if isinstance(answer, str):
                return ('refused', answer)
            got += answer
    bad = []
    for k, (w, g) in enumerate(zip(want, got)):
        r = requests[k % len(requests)]
        if w[0] == 'error':
            if 'error' not in g:
                bad.append((r, w, g))
            continue
        if w[0] is not None and g.get('ids') != w[0]:
            bad.append((r, w, g))
        elif g.get('text') != w[1]:
            bad.append((r, w, g))
    if not bad:
        return ('ok', None)
    if show:
        print(
            json.dumps({k: v for k, v in config.items() if k not in ('model', 'added_tokens')}, ensure_ascii=False)[
                :1500
            ]
        )
        print({k: v for k, v in config['model'].items() if k not in ('vocab', 'merges')})
        for a in config['added_tokens']:
            print('  ', a)
        names = {v: k for k, v in ref.get_vocab(True).items()}
        for r, w, g in bad[:show]:
            print(repr(r))
            print('   want', w[0] and [names.get(i, i) for i in w[0]] if w[0] != 'error' else w, repr(w[1]))
            print('   got ', [names.get(i, i) for i in g.get('ids', [])], repr(g.get('text', g)))
    return ('bad', f'{len(bad)} of {len(want)}')


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--bin', required=True)
    p.add_argument('--seed', type=int, default=0, help='the first one')
    p.add_argument('--count', type=int, default=100)
    p.add_argument('--show', type=int, default=2, help='differences to print of each tokenizer')
    a = p.parse_args()
    # The reference panics on some of its own settings, loudly.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    counts = {}
    for seed in range(a.seed, a.seed + a.count):
        verdict, why = check(a.bin, seed, a.show)
        counts[verdict] = counts.get(verdict, 0) + 1
        if verdict in ('bad', 'refused'):
            print(f'seed {seed}: {verdict}: {why}', flush=True)
    print(counts)
    sys.exit(1 if counts.get('bad') or counts.get('refused') or not counts.get('ok') else 0)


main()
