/**
 * Sequences that read one resident context together: each run appends new tokens to some of
 * them and gives the logits after each one's last token. The context is read once per run,
 * however many sequences take part.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { ModelConfig } from "@kvault/model";
import type { StepBatch, StepInput, StepSequence } from "./model-runner.ts";
import type { ContextTensors } from "./resident-context.ts";
import { f32Tensor, i64Tensor, type Session, type Tensor } from "./session.ts";
import { SuffixSlots } from "./suffix-slots.ts";

/** What the mask adds to columns a token does not see; softmax gives them exactly 0. */
const MASKED = -1e30;

interface Sequence extends StepSequence {
  slot: number;
}

interface RunOutputs {
  readonly B: number;
  readonly T: number;
  readonly outputs: Readonly<Record<string, Tensor>>;
  readonly logits_BV: Float32Array;
  /** New keys and values, `[B, T, K·D]`, by `layer · 2 + (0 keys | 1 values)`. */
  readonly fresh: readonly Float32Array[];
}

export class SharedContextBatch implements StepBatch {
  private readonly openSession: () => Promise<Session>;
  private readonly config: ModelConfig;
  private readonly context: ContextTensors;
  /** Latest context positions that windowed layers hold. */
  private readonly windowTokens: number | undefined;
  private readonly slots: SuffixSlots;
  private readonly sequences: Sequence[] = [];
  private lastOutputs: RunOutputs | undefined;
  private closed = false;

  /** `openSession` gives the step session, loading it at the first run; the caller closes it. */
  constructor(openSession: () => Promise<Session>, config: ModelConfig, context: ContextTensors) {
    this.openSession = openSession;
    this.config = config;
    this.context = context;
    this.windowTokens = context.windowTokens(config);
    this.slots = new SuffixSlots(config);
  }

  get size(): number {
    return this.sequences.length;
  }

  add(): StepSequence {
    const { slots } = this;
    const sequence: Sequence = {
      slot: slots.add(),
      get length() {
        return slots.lengthOf(this.slot);
      },
    };
    this.sequences.push(sequence);
    return sequence;
  }

  remove(sequence: StepSequence): void {
    const { slot } = sequence as Sequence;
    if (this.sequences[slot] !== sequence) throw new RangeError("Cannot remove sequence: it is not of this batch");
    const moved = this.slots.remove(slot);
    const last = this.sequences.pop() as Sequence;
    if (moved !== slot) {
      last.slot = slot;
      this.sequences[slot] = last;
    }
  }

  async run(inputs: readonly StepInput[]): Promise<Float32Array[]> {
    if (this.closed) throw new KvaultError("CLOSED", "Cannot run batch: it is closed");
    if (inputs.length === 0 || inputs.some(({ ids }) => ids.length === 0)) {
      throw new RangeError("Cannot run batch: every input needs at least one token");
    }
    const { config, context } = this;
    const bySlot = inputs.map((input, index) => ({ index, ids: input.ids, slot: (input.sequence as Sequence).slot }));
    bySlot.sort((a, b) => a.slot - b.slot);
    const slots = bySlot.map(({ slot }) => slot);
    const counts = bySlot.map(({ ids }) => ids.length);
    const B = slots.length;
    const T = Math.max(...counts);
    const S = this.slots.columnsFor(slots);
    this.checkPositions(slots, counts);

    const { outputs, logits_BV, fresh } = this.outputsFor(B, T);
    const session = await this.openSession();
    await session.run(
      {
        ...this.tokenInputs(bySlot, T),
        ...this.masks(slots, counts, T, S),
        suffixSplit: i64Tensor([S, T]),
        ...context.inputs,
        ...context.splits(S + T),
        ...this.slots.bind(slots),
      },
      outputs,
    );
    this.slots.append(slots, counts, T, (layer, kind) => fresh[layer * 2 + kind]);
    const rows = new Array<Float32Array>(B);
    for (let b = 0; b < B; b++) {
      rows[bySlot[b].index] = logits_BV.subarray(b * config.vocabSize, (b + 1) * config.vocabSize);
    }
    return rows;
  }

  close(): void {
    this.closed = true;
    this.lastOutputs = undefined;
  }

  /** Buffers a run writes into, used again while its shape stays the same. */
  private outputsFor(B: number, T: number): RunOutputs {
    if (this.lastOutputs?.B !== B || this.lastOutputs.T !== T) {
      const { numLayers, numKvHeads, headDim, vocabSize } = this.config;
      const kvSize = numKvHeads * headDim;
      const logits_BV = new Float32Array(B * vocabSize);
      const outputs: Record<string, Tensor> = { logits: f32Tensor(logits_BV, [B, vocabSize]) };
      const fresh: Float32Array[] = [];
      for (let layer = 0; layer < numLayers; layer++) {
        for (const name of ["newKey", "newValue"]) {
          const rows = new Float32Array(B * T * kvSize);
          fresh.push(rows);
          outputs[`${name}.${layer}`] = f32Tensor(rows, [B, T, kvSize]);
        }
      }
      this.lastOutputs = { B, T, outputs, logits_BV, fresh };
    }
    return this.lastOutputs;
  }

  private checkPositions(slots: readonly number[], counts: readonly number[]): void {
    for (let b = 0; b < slots.length; b++) {
      const end = this.context.nextPosition + this.slots.lengthOf(slots[b]) + counts[b];
      if (end > this.config.maxTokens) {
        throw new KvaultError("TOKEN_LIMIT", `Cannot read token ${end}: the model's limit is ${this.config.maxTokens}`, {
          details: { tokens: end, maxTokens: this.config.maxTokens },
        });
      }
    }
  }

  /** Padding repeats the last token and position of a row; its results are dropped. */
  private tokenInputs(rows: readonly { ids: readonly number[]; slot: number }[], T: number): Record<string, Tensor> {
    const ids = new Array<number>(rows.length * T);
    const positions = new Array<number>(rows.length * T);
    const lastRow = new Array<number>(rows.length);
    for (let b = 0; b < rows.length; b++) {
      const { ids: own, slot } = rows[b];
      const first = this.context.nextPosition + this.slots.lengthOf(slot);
      for (let t = 0; t < T; t++) {
        const at = Math.min(t, own.length - 1);
        ids[b * T + t] = own[at];
        positions[b * T + t] = first + at;
      }
      lastRow[b] = b * T + own.length - 1;
    }
    const dims = [rows.length, T];
    return { ids: i64Tensor(ids, dims), positions: i64Tensor(positions, dims), lastRow: i64Tensor(lastRow) };
  }

  /** `suffixMask`; where layers are windowed `windowSuffixMask` and `windowContextMask` too. */
  private masks(slots: readonly number[], counts: readonly number[], T: number, S: number): Record<string, Tensor> {
    const dims = [slots.length, 1, T, S + T];
    const suffixMask = f32Tensor(this.suffixMask(slots, counts, T, S), dims);
    const { slidingWindow } = this.config;
    if (slidingWindow === undefined) return { suffixMask };
    const N = this.windowTokens as number;
    return {
      suffixMask,
      windowSuffixMask: f32Tensor(this.suffixMask(slots, counts, T, S, slidingWindow.tokens), dims),
      windowContextMask: f32Tensor(this.contextMask(slots, T, N, slidingWindow.tokens), [slots.length, 1, T, N]),
    };
  }

  /** `[B, 1, T, S+T]`: slot columns up to each length, then the new tokens causally; of both the latest `window`. */
  private suffixMask(
    slots: readonly number[],
    counts: readonly number[],
    T: number,
    S: number,
    window = Number.POSITIVE_INFINITY,
  ): Float32Array {
    const columns = S + T;
    const mask = new Float32Array(slots.length * T * columns).fill(MASKED);
    for (let b = 0; b < slots.length; b++) {
      const length = this.slots.lengthOf(slots[b]);
      for (let t = 0; t < T; t++) {
        const row = (b * T + t) * columns;
        // token t is the suffix' (length + t)th and sees its own index and window − 1 before it
        const first = Math.max(0, length + t + 1 - window);
        if (first < length) mask.fill(0, row + first, row + length);
        mask.fill(0, row + S + Math.max(0, first - length), row + S + Math.min(t + 1, counts[b]));
      }
    }
    return mask;
  }

  /** `[B, 1, T, N]` over the latest N context positions: those within `window` of each new token. */
  private contextMask(slots: readonly number[], T: number, N: number, window: number): Float32Array {
    const mask = new Float32Array(slots.length * T * N).fill(MASKED);
    for (let b = 0; b < slots.length; b++) {
      for (let t = 0; t < T; t++) {
        const row = (b * T + t) * N;
        const first = Math.max(0, N + this.slots.lengthOf(slots[b]) + t + 1 - window);
        if (first < N) mask.fill(0, row + first, row + N);
      }
    }
    return mask;
  }
}
