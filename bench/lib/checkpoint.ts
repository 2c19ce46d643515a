/** A checkpoint on disk with random weights in a config's shape, for measuring how fast one loads. */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

interface QwenConfig {
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
  vocab_size: number;
  tie_word_embeddings: boolean;
  model_type: string;
}

/** Names and shapes as published checkpoints have them. */
function* tensorsOf(config: QwenConfig): Generator<[string, number[]]> {
  const hidden = config.hidden_size;
  const q = config.num_attention_heads * config.head_dim;
  const kv = config.num_key_value_heads * config.head_dim;
  yield ['model.embed_tokens.weight', [config.vocab_size, hidden]];
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const name = (part: string) => `model.layers.${i}.${part}.weight`;
    yield [name('input_layernorm'), [hidden]];
    yield [name('post_attention_layernorm'), [hidden]];
    yield [name('self_attn.q_proj'), [q, hidden]];
    yield [name('self_attn.k_proj'), [kv, hidden]];
    yield [name('self_attn.v_proj'), [kv, hidden]];
    yield [name('self_attn.o_proj'), [hidden, q]];
    yield [name('self_attn.q_norm'), [config.head_dim]];
    yield [name('self_attn.k_norm'), [config.head_dim]];
    yield [name('mlp.gate_proj'), [config.intermediate_size, hidden]];
    yield [name('mlp.up_proj'), [config.intermediate_size, hidden]];
    yield [name('mlp.down_proj'), [hidden, config.intermediate_size]];
  }
  yield ['model.norm.weight', [hidden]];
  if (!config.tie_word_embeddings) yield ['lm_head.weight', [config.vocab_size, hidden]];
}

/** bf16 of magnitude 2^-7 to 2^-4, either sign. */
function randomWeights(bytes: number): Buffer {
  const buffer = Buffer.allocUnsafe(bytes);
  let state = 1;
  for (let i = 0; i < bytes; i += 2) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const sign = (state >>> 16) & 0x8000;
    buffer.writeUInt16LE(sign | (0x3c00 + ((state >>> 9) & 0x1ff)), i);
  }
  return buffer;
}

/** Fills `folder` from the config in `from` (qwen3, dense) and the bundled tokenizer. Returns the bytes of data. */
export async function writeCheckpoint(folder: string, from: string): Promise<number> {
  const config = JSON.parse(readFileSync(join(from, 'config.json'), 'utf8')) as QwenConfig;
  if (config.model_type !== 'qwen3')
    throw new Error(`expected a model of type qwen3, received ${config.model_type}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  const pocket = fileURLToPath(new URL('../../models/pocket', import.meta.url));
  for (const name of ['tokenizer.json', 'tokenizer_config.json'])
    copyFileSync(join(pocket, name), join(folder, name));

  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let end = 0;
  for (const [name, shape] of tensorsOf(config)) {
    const begin = end;
    end += 2 * shape.reduce((product, n) => product * n, 1);
    header[name] = { dtype: 'BF16', shape, data_offsets: [begin, end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([json, Buffer.alloc((8 - (json.length % 8)) % 8, ' ')]);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const file = await open(join(folder, 'model.safetensors'), 'w');
  try {
    await file.write(length);
    await file.write(padded);
    const chunk = randomWeights(1 << 24);
    for (let at = 0; at < end; at += chunk.length)
      await file.write(chunk, 0, Math.min(chunk.length, end - at));
  } finally {
    await file.close();
  }
  return end;
}
