#!/usr/bin/env python3
"""Make tests/golden/data/adapters: LoRA adapters of the tiny models and the logits they must give.

usage: make_adapters.py OUT_FOLDER [NAME...]

Needs torch, transformers and peft, which writes the adapters itself; the logits are those of
transformers with peft in float32. Each adapter is NAME/ with NAME.golden.json, which names the
model of tests/golden/data/models that it is for, and NAME.golden.f32. Together they have every
setting that is read: lists, expressions, all-linear, ranks and alphas by pattern, rsLoRA, chosen
layers, fused projections, latent attention, tied output matrices, three number types.
"""
import json
import os
import sys

os.environ['TRANSFORMERS_VERBOSITY'] = 'error'
os.environ['CUDA_VISIBLE_DEVICES'] = ''
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

import make_coded

MODELS = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data/models')
EVERYWHERE = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj']
CASES = {
    'llama_all': ('llama', dict(r=4, lora_alpha=8, target_modules='all-linear')),
    'llama_attention': ('llama', dict(r=8, lora_alpha=4, target_modules=['q_proj', 'v_proj'])),
    'llama_output': ('llama', dict(r=1, lora_alpha=3, target_modules=['lm_head', 'down_proj'])),
    'odd_heads': ('odd_heads', dict(r=5, lora_alpha=7, target_modules=EVERYWHERE)),
    'phi3_fused': ('phi3', dict(r=6, lora_alpha=5, use_rslora=True, target_modules=[
        'qkv_proj', 'gate_up_proj', 'o_proj'])),
    'qwen3_patterns': ('qwen3', dict(
        r=4, lora_alpha=4, target_modules=r'.*\.(self_attn|mlp)\.\w+_proj',
        exclude_modules=['k_proj'], rank_pattern={'q_proj': 2, r'layers\.1\.mlp\.down_proj': 9},
        alpha_pattern={r'.*mlp.*': 10})),
    'qwen2_layer': ('qwen2', dict(r=3, lora_alpha=6, target_modules=EVERYWHERE,
                                  layers_to_transform=[1])),
    'gemma2_text': ('gemma2', dict(r=4, lora_alpha=8, target_modules=(
        r'.*language_model.*proj|.*vision.*layers\.0\.self_attn\.q_proj'))),
    'deepseek_v3_latent': ('deepseek_v3', dict(r=4, lora_alpha=8, target_modules=[
        'q_a_proj', 'q_b_proj', 'kv_a_proj_with_mqa', 'o_proj', 'q_proj'])),
    'qwen2_moe_all': ('qwen2_moe', dict(r=3, lora_alpha=6, target_modules='all-linear')),
    'glm4_moe_router': ('glm4_moe', dict(r=4, lora_alpha=4, target_modules=[
        'q_proj', 'v_proj', 'gate'])),
    'shuffled_all': ('gptq_shuffled', dict(r=4, lora_alpha=8, target_modules='all-linear')),
    'shuffled_mixture': ('gptq_mixture', dict(r=3, lora_alpha=6, target_modules=[
        'q_proj', 'v_proj', 'o_proj', 'shared_expert.up_proj', 'shared_expert.down_proj'])),
    'mixtral_attention': ('mixtral', dict(r=4, lora_alpha=8, target_modules=[
        'q_proj', 'k_proj', 'v_proj', 'o_proj'])),
}
TYPES = {'llama_attention': torch.bfloat16, 'qwen3_patterns': torch.float16}


def randomise(model):
    """Both halves count, each by about as much as what it is added to."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if 'lora_A' in name:
                weight.normal_(0, weight.shape[1] ** -0.5)
            elif 'lora_B' in name:
                weight.normal_(0, 0.5 * weight.shape[1] ** -0.5)


def make(name, out):
    base, settings = CASES[name]
    folder = os.path.join(out, name)
    with open(f'{MODELS}/{base}.golden.json', encoding='utf-8') as f:
        ids = json.load(f)['ids']
    torch.manual_seed(sum(name.encode()))
    with open(f'{MODELS}/{base}/config.json', encoding='utf-8') as f:
        names = json.load(f).get('architectures', ['AutoModelForCausalLM'])
    kind = getattr(transformers, names[0])
    if base in make_coded.MODELS:
        model = make_coded.build(base)[0]
    else:
        model = kind.from_pretrained(f'{MODELS}/{base}', dtype=torch.float32,
                                     attn_implementation='eager', experts_implementation='eager')
    model = get_peft_model(model, LoraConfig(task_type='CAUSAL_LM', **settings)).eval()
    randomise(model)
    dtype = TYPES.get(name, torch.float32)
    for key, weight in model.named_parameters():
        if 'lora_' in key:
            weight.data = weight.data.to(dtype).float()
    model.save_pretrained(folder, save_embedding_layers=False)
    os.remove(f'{folder}/README.md')
    path = f'{folder}/adapter_model.safetensors'
    save_file({k: v.to(dtype).contiguous() for k, v in load_file(path).items()}, path)
    with open(f'{folder}/adapter_config.json', encoding='utf-8') as f:
        config = json.load(f)
    config['base_model_name_or_path'] = base
    for key, value in config.items():
        if isinstance(value, list):
            config[key] = sorted(value)
    with open(f'{folder}/adapter_config.json', 'w', encoding='utf-8') as f:
        json.dump(config, f, indent=1, sort_keys=True)
        f.write('\n')

    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].float()
        with model.disable_adapter():
            plain = model(torch.tensor([ids])).logits[0].float()
    logits.numpy().astype('<f4').tofile(f'{folder}.golden.f32')
    with open(f'{folder}.golden.json', 'w', encoding='utf-8') as f:
        json.dump({'model': base, 'ids': ids}, f)
        f.write('\n')
    print(f'{name}: logits change by up to {(logits - plain).abs().max():.2f}')


def main():
    os.makedirs(sys.argv[1], exist_ok=True)
    for name in sys.argv[2:] or CASES:
        make(name, sys.argv[1])


main()
