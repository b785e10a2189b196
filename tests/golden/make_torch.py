#!/usr/bin/env python3
"""Make tests/golden/data/torch: small files of torch.save, good and bad, for tests and fuzz seeds.

usage: make_torch.py OUT_FOLDER      (needs torch)

Every good file holds "a" = [[0, 1, 2], [3, 4, 5]] in float32 and "b" = [1, 2, 3, 4] in bfloat16, in
different ways.
"""
import os
import sys
from collections import OrderedDict

import torch


class Call:
    """Unpickled by Python, this would run a command."""

    def __reduce__(self):
        return (os.system, ('true',))


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    a = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    b = torch.tensor([1, 2, 3, 4], dtype=torch.bfloat16)
    plain = {'a': a, 'b': b}
    torch.save(plain, f'{out}/plain.pt')
    turned = OrderedDict(a=torch.nn.Parameter(a.t().contiguous().t()), b=b)
    turned._metadata = OrderedDict({'': {'version': 1}})
    torch.save({'epoch': 3, 'rate': 0.5, 'sizes': torch.Size([2, 3]), 'where': torch.device('cpu'),
                'seen': {1, 2}, 'more': [None, True, 'text', 2 ** 40], 'model': turned},
               f'{out}/nested.pt', pickle_protocol=5)
    shared = torch.arange(-1, 7, dtype=torch.float32)
    torch.save({'state_dict': {'a': shared[1:7].view(2, 3), 'b': b.repeat_interleave(2)[::2],
                               'f8': a.to(torch.float8_e4m3fn), 'none': torch.zeros(0, 3),
                               'one': torch.tensor(7.0)}},
               f'{out}/shared.pt', pickle_protocol=4)
    torch.save({'a': a, 'call': Call()}, f'{out}/call.pt')
    torch.save(plain, f'{out}/old.pt', _use_new_zipfile_serialization=False)


if __name__ == '__main__':
    main()
