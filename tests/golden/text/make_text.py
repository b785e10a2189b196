#!/usr/bin/env python3
"""Makes tests/golden/data/text: small tokenizers, Jinja cases and conversations with what the reference
libraries (Hugging Face tokenizers, Jinja 3) make of them. The chat templates (chat/*.jinja) and the
conversations there are written by hand; what they render to is made here.

usage: make_text.py OUT_DIR [tokenizers|jinja|chat ...]      needs: pip install tokenizers jinja2
"""
import glob, json, os, random, sys

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)

from jinja_reference import NOW, Raised, environment, with_thoughts

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
STRINGS = ['', ' ', '  ', '\n', '\r\n', '\t\t\n', 'a', ' a', 'a ', 'Hello, world!', "I'm sure they'll say it's fine",
           "I'M SURE THEY'LL SAY IT'S FINE", 'The quick brown fox', '1 12 123 1234 12345 3.14159', 'naïve café Ünïcode',
           'e\u0301 a\u0323\u0301 \u1112\u1161\u11ab', 'Привет, мир', '你好，世界！', 'こんにちは', '한국어', '😀👩\u200d👧🏽', 'x\u00a0y\u3000z',
           'a\u200bb\ufeffc', 'ﬁ ① ½ ²³ Ⅷ', 'def f(x):\n    return x**2  # ok\n', '<s>not special</s>', 'a<mask>b', ' <mask> ', 'foo<w>bar <w> baz',
           '[CLS] hi [CLS]there', 'end.  \n\n  Next', '!!!???...', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
           ' ' * 70, '\n' * 50 + 'x', 'é' * 60, '▁under▁score', 'İstanbul ΣΊΣΥΦΟΣ', '漢字とkana', "don't do not , . !", '\u202eabc', '\x00\x1b[0m']
TEXT = STRINGS * 2 + ['It was the best of times and the worst of times, said the old clock to the young bell.',
                      'Numbers such as 1984, 2024 and 3.14159 are cut in different ways by different tokenizers.',
                      'Schöne Grüße aus München; où est la bibliothèque? ¿Dónde está?'] * 6
SPECIAL = ['<unk>', '<s>', '</s>']
MARKS = [AddedToken('<mask>', lstrip=True), AddedToken('<w>', single_word=True, normalized=False),
         AddedToken('[CLS]', rstrip=True, special=True)]


def bos_eos(single):
    return processors.TemplateProcessing(single=single, special_tokens=[('<s>', 1), ('</s>', 2)])


def bpe(pre, normalizer=None, decoder=None, post=None, vocab=700, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre, decoder or decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet() if decoder is None else []
    extra = [f'<0x{b:02X}>' for b in range(256)] if model.get('byte_fallback') else []
    tokenizer.train_from_iterator(TEXT, trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=SPECIAL + extra, show_progress=False, initial_alphabet=alphabet,
        limit_alphabet=300 if not extra else 90))
    if post:
        tokenizer.post_processor = post
    return tokenizer


def tokenizers():
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    sequence, split = pre_tokenizers.Sequence, pre_tokenizers.Split
    yield 'gpt2', bpe(level)
    yield 'smollm', bpe(sequence([pre_tokenizers.Digits(individual_digits=True), level]))
    yield 'llama3', bpe(sequence([split(Regex(LLAMA3), 'isolated'), raw]), post=bos_eos('<s> $A'))
    yield 'qwen', bpe(sequence([split(Regex(LLAMA3.replace('{1,3}', '')), 'isolated'), raw]), normalizers.NFC())
    yield 'falcon', bpe(sequence([pre_tokenizers.Punctuation('contiguous'), level, pre_tokenizers.Digits(),
                                  split(Regex('[0-9][0-9][0-9]'), 'isolated')]))
    spm = decoders.Sequence([decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse(),
                             decoders.Strip(' ', 1, 0)])
    marks = normalizers.Sequence([normalizers.Prepend('▁'), normalizers.Replace(' ', '▁')])
    words = bpe(pre_tokenizers.Metaspace(), decoder=spm, vocab=900, unk_token='<unk>', fuse_unk=True,
                byte_fallback=True, post=bos_eos('<s> $A'))
    words.normalizer = marks  # trained on words, used without a pre-tokenizer, as llama2 is
    words = json.loads(words.to_str())
    words['pre_tokenizer'] = None
    yield 'llama2', Tokenizer.from_str(json.dumps(words))
    unigram = Tokenizer(models.Unigram())
    unigram.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(' {2,}'), ' ')])
    unigram.pre_tokenizer, unigram.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    unigram.train_from_iterator(TEXT, trainers.UnigramTrainer(vocab_size=420, special_tokens=SPECIAL, unk_token='<unk>',
                                                              show_progress=False))
    unigram.post_processor = bos_eos('$A </s>')
    yield 't5', unigram
    bert = Tokenizer(models.WordPiece(unk_token='<unk>'))
    bert.normalizer, bert.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    bert.decoder = decoders.WordPiece()
    bert.train_from_iterator(TEXT, trainers.WordPieceTrainer(vocab_size=500, special_tokens=SPECIAL, show_progress=False))
    bert.post_processor = processors.BertProcessing(('</s>', 2), ('<s>', 1))
    yield 'bert', bert


def make_tokenizers(out):
    rng = random.Random(7)
    os.makedirs(out, exist_ok=True)
    json.dump(STRINGS, open(out + '/strings.json', 'w'))
    for name, tokenizer in tokenizers():
        tokenizer.add_tokens(MARKS)
        folder = f'{out}/{name}'
        os.makedirs(folder, exist_ok=True)
        open(folder + '/tokenizer.json', 'w').write(tokenizer.to_str(pretty=False))
        tokenizer = Tokenizer.from_file(folder + '/tokenizer.json')
        golden = {'encode': [], 'decode_random': []}
        for i, text in enumerate(STRINGS):
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            golden['encode'].append({'i': i, 'ids': ids, 'ids_special': tokenizer.encode(text).ids,
                                     'decoded': tokenizer.decode(ids, skip_special_tokens=False)})
        for _ in range(40):
            ids = [rng.randrange(tokenizer.get_vocab_size()) for _ in range(rng.randrange(1, 12))]
            golden['decode_random'].append({'ids': ids, 'decoded': tokenizer.decode(ids, skip_special_tokens=False)})
        json.dump(golden, open(folder + '/golden.json', 'w'))


def make_jinja(out):
    here = os.path.dirname(os.path.abspath(__file__))
    variables = json.load(open(here + '/variables.json'))
    cases = []
    for template in open(here + '/cases.jinja', newline='').read().split('\n=====\n'):
        case = {'template': template, 'variables': variables}
        try:
            given = dict({'messages': [], 'tools': None, 'documents': None, 'add_generation_prompt': False}, **variables)
            case['expected'] = environment().from_string(template).render(**given)
        except Raised as e:
            case.update(error_type='raise_exception', error=str(e))
        except Exception as e:
            case.update(error_type=type(e).__name__, error=str(e))
        del case['variables']
        cases.append(case)
    os.makedirs(out, exist_ok=True)
    json.dump({'now': NOW, 'variables': variables, 'cases': cases}, open(out + '/jinja.json', 'w'), indent=0)


SPECIAL_TOKENS = {'bos_token': '<s>', 'eos_token': '</s>'}


def make_chat(out):
    conversations = json.load(open(out + '/conversations.json'))
    for path in sorted(glob.glob(out + '/*.jinja')):
        template, cases = environment().from_string(open(path, newline='').read()), []
        for name, c in conversations.items():
            for generate in (False, True):
                case = {'conversation': name, 'add_generation_prompt': generate}
                given = {'tools': c.get('tools'), 'documents': None, **SPECIAL_TOKENS, **c.get('kwargs', {})}
                try:
                    case['expected'] = template.render(messages=with_thoughts(c['messages']),
                                                       add_generation_prompt=generate, **given)
                except Raised as e:
                    case.update(error_type='raise_exception', error=str(e))
                except Exception as e:
                    case.update(error_type=type(e).__name__, error=str(e))
                cases.append(case)
        json.dump({'special_tokens': SPECIAL_TOKENS, 'now': NOW, 'cases': cases},
                  open(path[:-len('jinja')] + 'golden.json', 'w'), indent=0, ensure_ascii=False)


KINDS = {'tokenizers': make_tokenizers, 'jinja': make_jinja, 'chat': make_chat}
for kind in sys.argv[2:] or KINDS:
    KINDS[kind](sys.argv[1] + ('/tokenizers' if kind == 'tokenizers' else '/chat'))
