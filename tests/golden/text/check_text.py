#!/usr/bin/env python3
"""Runs tokenizers or templates through node-agent and compares with reference data, exactly.

usage: check_text.py tokenizers|chat|jinja --bin NODE_AGENT [--large DIR]

Our own small set (../data/text, made by make_text.py) always; the large one (DIR, $PX_GOLDEN) where it
exists. Prints the first differences and, for each set, how many cases passed.
"""
import argparse, glob, gzip, json, os, subprocess, sys, tempfile

OWN = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'data', 'text')


class Report:
    def __init__(self):
        self.passed, self.failed = 0, 0

    def case(self, ok, name, got=None, want=None):
        self.passed += ok
        self.failed += not ok
        if not ok and self.failed <= 8:
            print(f'  {name}: got {str(got)[:100]!r}, want {str(want)[:100]!r}')


def load(path):
    return json.load(open(path, encoding='utf-8'))


def lines(command, requests):
    """One JSON object a line in, one out; fails loudly if the counts differ."""
    text = ''.join(json.dumps(r) + '\n' for r in requests)
    done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=300)
    answers = [json.loads(l) for l in done.stdout.decode('utf-8').split('\n') if l.strip()]
    if len(answers) != len(requests):
        answers += [{'error': done.stderr.decode('utf-8', 'replace').strip()}] * (len(requests) - len(answers))
    return answers


def tokenizer_folder(folder, scratch):
    packed = folder + '/tokenizer.json.gz'
    if not os.path.exists(packed):
        return folder
    open(scratch + '/tokenizer.json', 'wb').write(gzip.open(packed).read())
    return scratch


def check_tokenizers(binary, data, report):
    strings = load(data + '/tokenizers/strings.json')
    for golden_path in sorted(glob.glob(data + '/tokenizers/*/golden.json')):
        folder = os.path.dirname(golden_path)
        name, golden = os.path.basename(folder), load(golden_path)
        with tempfile.TemporaryDirectory() as scratch:
            command = [binary, 'tokenize', '--model', tokenizer_folder(folder, scratch)]
            texts = [{'text': strings[e['i']]} for e in golden['encode']]
            for e, got in zip(golden['encode'], lines(command, texts)):
                report.case(got.get('ids') == e['ids'], f'{name}/encode{e["i"]}', got.get('ids', got), e['ids'])
                decoded = strings[e['i']] if e.get('roundtrip') else e.get('decoded')
                if decoded is not None:
                    report.case(got.get('text') == decoded, f'{name}/decode{e["i"]}', got.get('text', got), decoded)
            for e, got in zip(golden['encode'], lines(command + ['--special'], texts)):
                want = e.get('ids_special', e['ids'])
                report.case(got.get('ids') == want, f'{name}/special{e["i"]}', got.get('ids', got), want)
            random = golden.get('decode_random', [])
            for k, (e, got) in enumerate(zip(random, lines(command, [{'ids': e['ids']} for e in random]))):
                report.case(got.get('text') == e['decoded'], f'{name}/random{k}', got.get('text', got), e['decoded'])


def expect(report, name, case, got):
    if 'expected' in case:
        report.case(got.get('text') == case['expected'], name, got.get('text', got), case['expected'])
    elif case.get('error_type') == 'raise_exception':
        report.case(got.get('error') == case['error'], name, got, case['error'])
    elif case.get('expected_refusal'):
        report.case('chat template, line ' in got.get('error', ''), name, got, case['error'])
    else:  # Python's own errors: an answer or a refusal, but no crash
        report.case('text' in got or 'error' in got, name, got, case['error'])


def check_jinja(binary, data, report):
    own = os.path.exists(data + '/chat/jinja.json')
    golden = load(data + ('/chat/jinja.json' if own else '/chat/jinja_features.json'))
    for k, case in enumerate(golden['cases']):
        variables = dict(case.get('variables', golden.get('variables', {})))
        request = {'messages': variables.pop('messages', []), 'kwargs': variables, 'now': golden['now']}
        with tempfile.NamedTemporaryFile('w', suffix='.jinja', encoding='utf-8', newline='') as file:
            file.write(case['template'])
            file.flush()
            got = lines([binary, 'render', '--template', file.name], [request])[0]
        expect(report, f'jinja{k}', dict(case, expected_refusal=own), got)


def check_chat(binary, data, report):
    conversations = load(data + '/chat/conversations.json')
    own = os.path.exists(data + '/chat/jinja.json')
    for golden_path in sorted(glob.glob(data + '/chat/*.golden.json')):
        golden, name = load(golden_path), os.path.basename(golden_path)[:-len('.golden.json')]
        requests = []
        for case in golden['cases']:
            c = conversations[case['conversation']]
            requests.append({'messages': c['messages'], 'tools': c.get('tools'), 'kwargs': c.get('kwargs', {}),
                             'add_generation_prompt': case['add_generation_prompt'],
                             'special_tokens': golden['special_tokens'], 'now': golden['now']})
        template = f'{data}/chat/{name}.jinja'
        for case, got in zip(golden['cases'], lines([binary, 'render', '--template', template], requests)):
            label = f'{name}/{case["conversation"]}/{case["add_generation_prompt"]}'
            expect(report, label, dict(case, expected_refusal=own), got)


KINDS = {'tokenizers': check_tokenizers, 'chat': check_chat, 'jinja': check_jinja}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('kind', choices=list(KINDS))
    parser.add_argument('--bin', required=True)
    parser.add_argument('--large')
    args = parser.parse_args()
    large, failed = os.environ.get('PX_GOLDEN') or args.large, 0
    for name, data in (('own set', OWN), ('large set', large)):
        if not data or not os.path.isdir(data):
            print(f'{args.kind}, {name}: not there')
            continue
        report = Report()
        KINDS[args.kind](args.bin, data, report)
        print(f'{args.kind}, {name}: {report.passed} passed, {report.failed} failed')
        failed += report.failed + (report.passed == 0)
    sys.exit(1 if failed else 0)


main()
