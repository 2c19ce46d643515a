/** From a folder or hub id to the parts of a running engine. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fromNative, loadError } from '../errors.js';
import { Mailbox } from '../mailbox.js';
import type { NativeBinding, NativeDeviceInfo, NativeEngine } from '../native.js';
import { type LoadOptions, parseLoadOptions } from '../options.js';
import { samplingDefaultsShape } from '../request/fields.js';
import type { TextModel } from '../request/render.js';
import type { ModelFacts, SamplingDefaults } from '../request/sampling.js';
import { judgeField } from '../request/validate.js';
import { ChatTemplates } from '../text/template.js';
import { Tokenizer } from '../text/tokenizer.js';
import { type Checkpoint, openCheckpoint } from '../weights/index.js';
import { chooseDevice, deviceName } from './device.js';
import { defaultBlockSize, dummyWeightBytes, planCache, settledCache } from './memory.js';
import { chooseParsers } from './parsers.js';
import { nativeVocabulary } from './vocabulary.js';

/** What an engine is made of; tests put a fake `native` in. */
export interface EngineParts {
  native: NativeEngine;
  /** The one that `native` delivers to. */
  mailbox: Mailbox;
  /** null: no tokenizer, prompts are token ids. */
  text: TextModel | null;
  facts: ModelFacts;
  servedName: string;
  /** "cpu" or "cuda:<index>". */
  device: string;
}

/** A step on a GPU takes far more tokens before it takes longer. */
const stepDefaults = {
  cpu: { maxRunningSeqs: 64, maxBatchTokens: 512 },
  cuda: { maxRunningSeqs: 256, maxBatchTokens: 8192 },
};

export async function loadParts(
  model: string,
  userOptions: LoadOptions | undefined,
  loadBinding: () => NativeBinding,
): Promise<EngineParts> {
  const options = parseLoadOptions(userOptions);
  const { signal, onProgress } = options;
  if (typeof model !== 'string' || model === '')
    throw loadError(
      'Engine.load expects a folder or a hub id as its first argument, received ' +
        `${model === '' ? 'an empty string' : typeof model}.`,
      'model_not_found',
    );
  signal?.throwIfAborted();
  const binding = loadBinding();
  const device = chooseDevice(devicesOf(binding), options.device ?? 'auto');
  const loadFormat = options.loadFormat ?? 'auto';
  const checkpoint = await openCheckpoint(model, {
    loadFormat,
    dummyDtype: options.dtype,
    revision: options.revision,
    cacheDir: options.cacheDir,
    offline: options.offline,
    token: options.token,
    signal,
    onProgress,
  });
  const text = await loadText(checkpoint, options);
  const { spec, weightDtype: dtype } = checkpoint;
  const weightBytes =
    loadFormat === 'dummy'
      ? dummyWeightBytes(spec, dtype)
      : checkpoint.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  const cache = planCache(spec, { bytes: weightBytes, dtype }, device, options);
  signal?.throwIfAborted();

  const eos = new Set(checkpoint.eosTokenIds);
  if (text?.tokenizer.eosTokenId != null) eos.add(text.tokenizer.eosTokenId);
  const eosTokenIds = [...eos].filter((id) => id < spec.vocabSize);
  const blockSize = options.blockSize ?? defaultBlockSize;
  const mailbox = new Mailbox();
  let native: NativeEngine;
  try {
    native = await binding.createEngine(
      spec,
      checkpoint.tensors,
      {
        device: deviceName(device),
        numThreads: options.numThreads ?? 0,
        maxRunningSeqs: options.maxRunningSeqs ?? stepDefaults[device.kind].maxRunningSeqs,
        maxBatchTokens: options.maxBatchTokens ?? stepDefaults[device.kind].maxBatchTokens,
        blockSize,
        prefixCaching: options.prefixCaching ?? true,
        captureRoutedExperts: options.captureRoutedExperts ?? false,
        jumpForward: options.jumpForward ?? false,
        activationDtype: options.computeDtype ?? 'auto',
        vocabulary: text && nativeVocabulary(text.tokenizer, spec.vocabSize, eosTokenIds),
        dummyWeights: loadFormat === 'dummy' ? { dtype, seed: 0 } : null,
        ...cache,
      },
      (delivery) => mailbox.deliver(delivery),
      onProgress &&
        ((bytesDone, bytesTotal) => onProgress({ phase: 'load', bytesDone, bytesTotal })),
    );
  } catch (error) {
    throw fromNative(error);
  }
  if (signal?.aborted) {
    await native.close();
    throw signal.reason;
  }
  const { kvCacheBytes, maxModelLen } = settledCache(native, cache, blockSize);
  if (options.maxModelLen === undefined && maxModelLen < spec.maxPosition)
    options.logger?.warn(
      `maxModelLen is ${maxModelLen}, not the checkpoint's ${spec.maxPosition}, with a KV cache of ` +
        `${kvCacheBytes} bytes. Set maxModelLen or kvCacheBytes for longer requests.`,
    );
  options.logger?.info(
    `${checkpoint.name} on ${deviceName(device)} (${device.name}): ${weightBytes} bytes of weights, ` +
      `${kvCacheBytes} bytes of KV cache, up to ${maxModelLen} tokens per request`,
  );
  return {
    native,
    mailbox,
    text,
    facts: {
      vocabSize: spec.vocabSize,
      maxModelLen,
      eosTokenIds,
      samplingDefaults: options.samplingDefaults === 'openai' ? {} : samplingDefaults(checkpoint),
      captureRoutedExperts: options.captureRoutedExperts ?? false,
    },
    servedName: options.servedModelName ?? checkpoint.name,
    device: deviceName(device),
  };
}

export function devicesOf(binding: NativeBinding): NativeDeviceInfo[] {
  try {
    return binding.devices();
  } catch (error) {
    throw fromNative(error);
  }
}

/** Dummy weights need no tokenizer; where the folder has one, it is used. */
async function loadText(checkpoint: Checkpoint, options: LoadOptions): Promise<TextModel | null> {
  const { folder } = checkpoint;
  if (options.loadFormat === 'dummy' && !existsSync(join(folder, 'tokenizer.json'))) return null;
  const tokenizer = await Tokenizer.load(folder);
  const sources =
    options.chatTemplate === undefined
      ? tokenizer.chatTemplates
      : new Map([['default', options.chatTemplate]]);
  return {
    tokenizer,
    templates: new ChatTemplates(sources, tokenizer),
    knowsDeveloper: [...sources.values()].some((source) => source.includes('developer')),
    ...chooseParsers(sources, options),
    templateKwargs: options.chatTemplateKwargs ?? {},
    jsonWhitespace: options.jsonWhitespace ?? 'line',
  };
}

/** Those of generation_config.json, checked as a request's are. */
function samplingDefaults({ generationConfig }: Checkpoint): SamplingDefaults {
  const defaults: SamplingDefaults = {};
  for (const name of Object.keys(samplingDefaultsShape) as (keyof SamplingDefaults)[]) {
    let value = generationConfig?.[name];
    if (value === undefined || value === null) continue;
    // transformers writes 0 for "off".
    if (name === 'top_k' && value === 0) value = -1;
    const fault = judgeField(samplingDefaultsShape[name], name, value);
    if (fault !== null)
      throw loadError(
        `generation_config.json: ${fault} Correct the file, or load with samplingDefaults: 'openai'.`,
        'config_unsupported',
      );
    defaults[name] = value as number;
  }
  // transformers' word for greedy, whatever the temperature beside it.
  if (generationConfig?.do_sample === false) defaults.temperature = 0;
  return defaults;
}
