/**
 * A model of no weights whose every number can be worked out by hand: what engine tests run
 * where real ones would only be slow.
 *
 * Tokens are bytes. Keys and values follow from token, position, layer and head, and survive
 * a half-precision codec exactly. The answer to a question is
 *
 *   <checksum of the resident keys and values, 8 hex digits> <question>
 *
 * so a lost, altered or foreign pair shows in the text. A little noise in the logits, a
 * function of everything read so far, gives sampling something to choose from.
 *
 * @module
 */
import { plainMatMul } from "@kvault/compression";
import { type DenseLayerKv, type RaggedLayerKv, sha256Hex, throwIfAborted } from "@kvault/core";
import type { ContextPrompt, ModelConfig, ModelIdentity, PromptBuilder, TokenDecoder } from "@kvault/model";
import { yieldToEventLoop } from "../event-loop.ts";
import type {
  ModelRunner,
  PrefilledContext,
  ResidentContext,
  RunOptions,
  StepBatch,
  StepInput,
  StepSequence,
} from "../model-runner.ts";

/** Ends the question; the answer follows. */
const TOY_POSTFIX = 256;
const TOY_END = 257;
const PREFILL_CHUNK_TOKENS = 64;

export const TOY_CONFIG: ModelConfig = Object.freeze({
  architecture: "toy",
  numLayers: 3,
  hiddenSize: 8,
  ffnSize: 8,
  numQueryHeads: 2,
  numKvHeads: 2,
  headDim: 4,
  vocabSize: 258,
  maxTokens: 4_096,
  rmsEpsilon: 1e-6,
  ropeTheta: 10_000,
});

export const TOY_IDENTITY: ModelIdentity = Object.freeze({
  weightsSha256: sha256Hex("toy weights"),
  tokenizerSha256: sha256Hex("toy tokenizer"),
  templateSha256: sha256Hex("toy template"),
  rope: "rope(theta=10000,dim=4)",
});

/** What happens around every run; tests block, count or die in it. */
export interface ToyHooks {
  /** Before a prefill or repeat chunk. */
  readonly onPrefillRun?: () => void | Promise<void>;
  /** Before a step run, with the tokens of each of its sequences. */
  readonly onStepRun?: (tokens: readonly number[]) => void | Promise<void>;
}

const text = new TextEncoder();

const prompts: PromptBuilder = {
  context(content) {
    const written =
      "text" in content ? content.text : content.messages.map(({ role, content: said }) => `${role}: ${said}`).join("\n");
    return { prefixIds: Int32Array.from(text.encode("<toy>")), contextIds: Int32Array.from(text.encode(written)) };
  },
  question: (question, turns = []) =>
    Int32Array.from([...text.encode([...turns.map(({ content }) => content), question].join("|")), TOY_POSTFIX]),
  postfixIds: Int32Array.of(TOY_POSTFIX),
  encode: (written) => Int32Array.from(text.encode(written)),
};

const tokens: TokenDecoder = {
  bytesOf: (id) => (id < 256 ? Uint8Array.of(id) : new Uint8Array()),
  endIds: new Set([TOY_END]),
};

export function createToyRunner(hooks: ToyHooks = {}): ModelRunner {
  const { onPrefillRun, onStepRun } = hooks;
  let closed = false;
  const pass = async (count: number, { signal, onProgress, betweenRuns = yieldToEventLoop }: RunOptions): Promise<void> => {
    for (let start = 0; start < count; start += PREFILL_CHUNK_TOKENS) {
      throwIfAborted(signal);
      await onPrefillRun?.();
      onProgress?.(Math.min(start + PREFILL_CHUNK_TOKENS, count), count);
      await betweenRuns();
    }
    throwIfAborted(signal);
  };
  return {
    config: TOY_CONFIG,
    identity: TOY_IDENTITY,
    prompts,
    tokens,
    async prefill(prompt, options = {}) {
      if (closed) throw new Error("Cannot prefill: the toy runner is closed");
      await pass(prompt.prefixIds.length + prompt.contextIds.length, options);
      return new ToyPrefilled(prompt);
    },
    async repeatPass(context, _pass, options = {}) {
      await pass(context.prompt.contextIds.length, options);
      const rows = TOY_CONFIG.numKvHeads * context.seqLen;
      const attention = Array.from({ length: TOY_CONFIG.numLayers }, (_, layer) =>
        Float32Array.from({ length: rows }, (_, i) => mix(layer + 1, i) / 2 ** 32),
      );
      return { attention };
    },
    async windowAttention(context, windowTokens, options = {}) {
      await pass(Math.min(windowTokens, context.seqLen), options);
      const rows = TOY_CONFIG.numQueryHeads * context.seqLen;
      return Array.from({ length: TOY_CONFIG.numLayers }, (_, layer) =>
        Float32Array.from({ length: rows }, (_, i) => mix(layer + 1, i) / 2 ** 32),
      );
    },
    matMul: async () => plainMatMul,
    prepareSteps: async () => undefined,
    openStepBatch: (context) => new ToyStepBatch(context as ToyResident, onStepRun),
    async close() {
      closed = true;
    },
  };
}

class ToyPrefilled implements PrefilledContext {
  readonly prompt: ContextPrompt;
  readonly seqLen: number;
  readonly lastLogits_V: Float32Array = new Float32Array(TOY_CONFIG.vocabSize);
  readonly #ids: Int32Array;

  constructor(prompt: ContextPrompt) {
    this.prompt = prompt;
    this.#ids = Int32Array.from([...prompt.prefixIds, ...prompt.contextIds]);
    this.seqLen = this.#ids.length;
  }

  layer(layer: number): DenseLayerKv {
    const { numKvHeads, headDim } = TOY_CONFIG;
    const { seqLen } = this;
    const key_KSD = new Float32Array(numKvHeads * seqLen * headDim);
    const value_KSD = new Float32Array(key_KSD.length);
    for (let k = 0; k < numKvHeads; k++) {
      for (let s = 0; s < seqLen; s++) {
        for (let d = 0; d < headDim; d++) {
          const at = (k * seqLen + s) * headDim + d;
          const seed = mix(layer * 31 + k, mix(s, this.#ids[s]) + d);
          // Multiples of 1/8 below 4: exact in half precision.
          key_KSD[at] = ((seed & 63) - 32) / 8;
          value_KSD[at] = (((seed >>> 8) & 63) - 32) / 8;
        }
      }
    }
    return { numKvHeads, seqLen, headDim, key_KSD, value_KSD };
  }

  release(): void {}
}

interface ToyResident extends ResidentContext {
  readonly checksum: number;
}

/** The toy's form of a resident context. */
export function makeToyResident(nextPosition: number, layers: Iterable<RaggedLayerKv>): ResidentContext {
  let checksum = 0;
  let keptPairs = 0;
  let bytes = 0;
  for (const { position_n, key_nD, value_nD } of layers) {
    keptPairs += position_n.length;
    bytes += key_nD.byteLength + value_nD.byteLength;
    for (const values of [position_n, key_nD, value_nD]) {
      for (const value of values) checksum = mix(checksum, value * 8);
    }
  }
  const resident: ToyResident = { nextPosition, keptPairs, bytes, checksum };
  return resident;
}

/** The greedy answer to `question` on `context`. */
export function toyAnswer(context: ResidentContext, question: string): string {
  return `${(context as ToyResident).checksum.toString(16).padStart(8, "0")} ${question}`;
}

class ToyStepBatch implements StepBatch {
  readonly #context: ToyResident;
  readonly #onRun: ToyHooks["onStepRun"];
  readonly #suffixes = new Map<StepSequence, number[]>();
  #running = false;
  #closed = false;

  constructor(context: ToyResident, onRun: ToyHooks["onStepRun"]) {
    this.#context = context;
    this.#onRun = onRun;
  }

  get size(): number {
    return this.#suffixes.size;
  }

  add(): StepSequence {
    const suffix: number[] = [];
    const sequence: StepSequence = {
      get length() {
        return suffix.length;
      },
    };
    this.#suffixes.set(sequence, suffix);
    return sequence;
  }

  remove(sequence: StepSequence): void {
    if (this.#running) throw new Error("Cannot remove a toy sequence: a run is under way");
    if (!this.#suffixes.delete(sequence)) throw new RangeError("Cannot remove a toy sequence: it is not of this batch");
  }

  async run(inputs: readonly StepInput[]): Promise<Float32Array[]> {
    if (this.#closed || this.#running) throw new Error("Cannot run a toy batch: it is closed or runs already");
    this.#running = true;
    try {
      await this.#onRun?.(inputs.map(({ ids }) => ids.length));
      return inputs.map(({ sequence, ids }) => {
        const suffix = this.#suffixes.get(sequence);
        if (suffix === undefined || ids.length === 0) throw new RangeError("Cannot run a toy sequence: foreign or empty");
        suffix.push(...ids);
        return logitsAfter(this.#context, suffix);
      });
    } finally {
      this.#running = false;
    }
  }

  close(): void {
    this.#closed = true;
  }
}

function logitsAfter(context: ToyResident, suffix: readonly number[]): Float32Array {
  const asked = suffix.indexOf(TOY_POSTFIX);
  const question = Buffer.from(suffix.slice(0, Math.max(asked, 0))).toString("utf8");
  const script = text.encode(toyAnswer(context, question));
  const next = script[suffix.length - asked - 1] ?? TOY_END;
  const state = suffix.reduce(mix, context.checksum);
  const logits_V = Float32Array.from({ length: TOY_CONFIG.vocabSize }, (_, id) => mix(state, id) / 2 ** 32);
  logits_V[next] += 4;
  return logits_V;
}

/** A 32-bit hash step. */
function mix(a: number, b: number): number {
  let h = Math.imul((a | 0) ^ Math.imul(b | 0, 0x85ebca6b), 0xc2b2ae35);
  h ^= h >>> 15;
  return Math.imul(h, 0x27d4eb2f) >>> 0;
}
