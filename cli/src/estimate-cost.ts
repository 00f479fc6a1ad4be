/**
 * What a context will cost, before it is built.
 *
 *     raw    = tokens · layers · KV heads · head size · 2 (keys, values) · 2 bytes
 *     stored = raw · (stored/raw of contexts with the same spec, else the keep ratio: codecs make it less)
 *     time   = tokens · (seconds per token of the latest contexts of the model)
 *
 * Raw bytes are exact. The others are of contexts that this server has built, weighed by their
 * tokens; a longer text costs more than its share, since every token looks at all before it.
 *
 * @module
 */
import type { Context, Model } from "@kvault/client";

/** Contexts that an estimate is made from, the latest ones. */
const MAX_CONTEXTS = 5;
const F16_BYTES = 2;

export interface Cost {
  readonly rawBytesF16: number;
  readonly storedBytes: number;
  /** Absent when nothing of this model was built here yet. */
  readonly seconds?: number;
  /** Contexts that it was made from. */
  readonly numContexts: number;
}

export interface CostRequest {
  readonly model: Pick<Model, "name" | "numLayers" | "numKvHeads" | "headDim">;
  readonly contextTokens: number;
  /** Absent: the server's default method. */
  readonly spec?: string;
  readonly keepRatio: number;
  /** Contexts of the server. */
  readonly known: readonly Context[];
}

export function estimateCost({ model, contextTokens, spec, keepRatio, known }: CostRequest): Cost {
  const rawBytesF16 = contextTokens * model.numLayers * model.numKvHeads * model.headDim * 2 * F16_BYTES;
  const built = known
    .filter((context) => context.model === model.name && context.report !== undefined)
    .sort((a, b) => (b.createTime?.getTime() ?? 0) - (a.createTime?.getTime() ?? 0));
  const isAlike = (context: Context): boolean =>
    spec === undefined ? context.report?.keepRatio === keepRatio : context.spec === spec;
  const sameSpec = built.filter(isAlike).slice(0, MAX_CONTEXTS);
  const timed = (sameSpec.length > 0 ? sameSpec : built).slice(0, MAX_CONTEXTS);
  const sum = (contexts: readonly Context[], value: (report: NonNullable<Context["report"]>) => number): number =>
    contexts.reduce((total, { report }) => total + (report === undefined ? 0 : value(report)), 0);
  const storedRatio =
    sameSpec.length === 0
      ? keepRatio
      : sum(sameSpec, ({ storedBytes }) => storedBytes) /
        Math.max(
          1,
          sum(sameSpec, (report) => report.rawBytesF16),
        );
  const seconds = sum(
    timed,
    (report) => report.seconds.prefill + report.seconds.score + report.seconds.compress + report.seconds.publish,
  );
  const tokens = sum(timed, (report) => report.contextTokens);
  return {
    rawBytesF16,
    storedBytes: Math.round(rawBytesF16 * storedRatio),
    ...(tokens === 0 ? {} : { seconds: (contextTokens / tokens) * seconds }),
    numContexts: timed.length,
  };
}
