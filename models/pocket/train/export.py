"""The Hugging Face folder: bf16 safetensors under the published names, configs, tokenizer. And back.

python3 export.py CHECKPOINT FOLDER writes the averaged weights of a checkpoint that train.py left.
"""

import json
import struct
import sys
from pathlib import Path

import torch
from model import Config, Pocket
from tokenizer import Tokenizer, tokenizer_json

TEMPLATE = Path(__file__).parent.parent / 'chat_template.jinja'


def published(state):
    """Our parameter names -> the names and shapes of Qwen3MoeForCausalLM (experts apart, embeddings tied)."""
    out = {}
    for name, value in state.items():
        name = f'model.{name}'
        if value.dim() == 3:
            head, _, projection = name.rpartition('.')
            for e in range(value.shape[0]):
                out[f'{head}.experts.{e}.{projection}.weight'] = value[e]
        else:
            out[name] = value
    return out


def save_safetensors(path, tensors):
    header, offset, blobs = {'__metadata__': {'format': 'pt'}}, 0, []
    for name in sorted(tensors):
        value = tensors[name].detach().to(torch.bfloat16).contiguous()
        blob = value.view(torch.int16).numpy().tobytes()
        header[name] = {'dtype': 'BF16', 'shape': list(value.shape), 'data_offsets': [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    path.write_bytes(struct.pack('<Q', len(text)) + text + b''.join(blobs))


def load_safetensors(path):
    raw = path.read_bytes()
    size = struct.unpack('<Q', raw[:8])[0]
    out = {}
    for name, info in json.loads(raw[8 : 8 + size]).items():
        if name != '__metadata__':
            start, end = (8 + size + o for o in info['data_offsets'])
            flat = torch.frombuffer(bytearray(raw[start:end]), dtype=torch.bfloat16)
            out[name] = flat.view(info['shape']).float()
    return out


def config_json(c):
    return {
        'architectures': ['Qwen3MoeForCausalLM'], 'model_type': 'qwen3_moe', 'vocab_size': c.vocab_size,
        'hidden_size': c.hidden_size, 'num_hidden_layers': c.num_hidden_layers,
        'num_attention_heads': c.num_attention_heads, 'num_key_value_heads': c.num_key_value_heads,
        'head_dim': c.head_dim, 'intermediate_size': c.moe_intermediate_size,
        'moe_intermediate_size': c.moe_intermediate_size, 'num_experts': c.num_experts,
        'num_experts_per_tok': c.num_experts_per_tok, 'norm_topk_prob': True, 'decoder_sparse_step': 1,
        'mlp_only_layers': [], 'router_aux_loss_coef': 0.01, 'output_router_logits': False,
        'hidden_act': 'silu', 'rms_norm_eps': c.rms_norm_eps, 'rope_theta': c.rope_theta, 'rope_scaling': None,
        'max_position_embeddings': c.max_position_embeddings, 'attention_bias': False, 'attention_dropout': 0.0,
        'use_sliding_window': False, 'sliding_window': None, 'max_window_layers': c.num_hidden_layers,
        'tie_word_embeddings': True, 'initializer_range': 0.02, 'use_cache': True, 'torch_dtype': 'bfloat16',
        'bos_token_id': None, 'eos_token_id': 2, 'pad_token_id': 0,
    }  # fmt: skip


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + '\n', encoding='utf-8')


def export(folder, config, state, tok):
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / 'config.json', config_json(config))
    generation = {'bos_token_id': None, 'eos_token_id': [2, 0], 'pad_token_id': 0, 'do_sample': False}
    write_json(folder / 'generation_config.json', generation)
    write_json(folder / 'tokenizer.json', tokenizer_json(tok))
    write_json(folder / 'tokenizer_config.json', {
        'tokenizer_class': 'PreTrainedTokenizerFast', 'add_bos_token': False, 'bos_token': None,
        'eos_token': '<|im_end|>', 'pad_token': '<|endoftext|>', 'unk_token': None,
        'clean_up_tokenization_spaces': False, 'model_max_length': config.max_position_embeddings,
        'chat_template': TEMPLATE.read_text(encoding='utf-8'),
    })  # fmt: skip
    if folder.resolve() != TEMPLATE.parent.resolve():
        (folder / 'chat_template.jinja').write_text(TEMPLATE.read_text(encoding='utf-8'), encoding='utf-8')
    save_safetensors(folder / 'model.safetensors', published(state))


def load(folder):
    """(model with the exported weights, tokenizer) of an exported folder."""
    raw = json.loads((folder / 'config.json').read_text())
    config = Config(**{k: raw[k] for k in Config().to_dict()})
    model, tensors = Pocket(config), load_safetensors(folder / 'model.safetensors')
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 3:
                head, _, projection = f'model.{name}'.rpartition('.')
                p.copy_(torch.stack([tensors[f'{head}.experts.{e}.{projection}.weight'] for e in range(len(p))]))
            else:
                p.copy_(tensors[f'model.{name}'])
    return model, Tokenizer.load(folder / 'tokenizer.json')


def main():
    if len(sys.argv) != 3:
        sys.exit('usage: python3 export.py CHECKPOINT FOLDER')
    saved = torch.load(sys.argv[1], map_location='cpu')
    state = {name: s['ema'] for name, s in saved['state'].items()}
    export(Path(sys.argv[2]), Config(**saved['config']), state, Tokenizer(saved['vocab']))
    print(f'exported step {saved["step"]}, {saved["seconds"]:.0f} s, {saved["tokens"] / 1e6:.2f} M tokens')


if __name__ == '__main__':
    main()
