/**
 * A context as programs see it: plain values, times as Dates, counts as numbers. `JSON.stringify`
 * of one is what `kvault context get --json` prints, but for the error.
 *
 * @module
 */
import type { KvaultError } from "@kvault/core";
import {
  type CompressionReport as CompressionReportMessage,
  Context_State,
  type Context as ContextMessage,
  fromRpcStatus,
  Progress_Phase,
  timestampMs,
} from "@kvault/rpc";

export type ContextState = "UNSPECIFIED" | "CREATING" | "ACTIVE" | "FAILED" | "DELETING" | "DELETED";

export type BuildPhase = "UNSPECIFIED" | "QUEUED" | "LOADING" | "PREFILL" | "SCORE" | "COMPRESS" | "PUBLISH";

export interface BuildProgress {
  readonly phase: BuildPhase;
  /** Units of the phase: tokens for PREFILL and SCORE, layers for COMPRESS and PUBLISH. */
  readonly done: number;
  readonly total: number;
  /** How often the build was started over. */
  readonly restarts: number;
}

export interface BuildSeconds {
  readonly queue: number;
  readonly load: number;
  readonly prefill: number;
  readonly score: number;
  readonly compress: number;
  readonly publish: number;
}

/** What compression did to a context. */
export interface CompressionReport {
  readonly contextTokens: number;
  readonly prefixTokens: number;
  /** Fraction of the pairs that was to be kept, and what it came to. */
  readonly keepRatio: number;
  readonly keptRatio: number;
  readonly keptPairs: number;
  readonly totalPairs: number;
  /** Of the full cache at 16 bits, and of the stored parts. */
  readonly rawBytesF16: number;
  readonly storedBytes: number;
  readonly queryAgnostic: boolean;
  readonly resumedTokens: number;
  readonly seconds: BuildSeconds;
  readonly keptPerLayerAndHead: readonly (readonly number[])[];
}

export interface Context {
  /** `contexts/{id}`. */
  readonly name: string;
  readonly state: ContextState;
  readonly model: string;
  readonly displayName: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The compression, as a full spec. */
  readonly spec: string;
  readonly digest: string;
  readonly createTime?: Date;
  readonly updateTime?: Date;
  /** Absent: never expires. */
  readonly expireTime?: Date;
  readonly ttlSeconds?: number;
  readonly refreshOnUse: boolean;
  readonly pinned: boolean;
  readonly deleteTime?: Date;
  /** Until when a deleted context can be undeleted. */
  readonly purgeTime?: Date;
  readonly etag: string;
  /** While CREATING. */
  readonly progress?: BuildProgress;
  /** Once ACTIVE. */
  readonly report?: CompressionReport;
  /** Once FAILED. */
  readonly error?: KvaultError;
}

/** `contexts/{id}` from a name or a bare id. */
export function contextName(nameOrId: string): string {
  return nameOrId.startsWith("contexts/") ? nameOrId : `contexts/${nameOrId}`;
}

export function contextOf(message: ContextMessage): Context {
  const { name, state, model, displayName, labels, spec, digest, pinned, refreshOnUse, etag } = message;
  const { createTime, updateTime, expireTime, deleteTime, purgeTime, ttl, progress, report, error } = message;
  return {
    name,
    state: (Context_State[state] ?? "UNSPECIFIED") as ContextState,
    model,
    displayName,
    labels,
    spec,
    digest,
    ...(createTime && { createTime: new Date(timestampMs(createTime)) }),
    ...(updateTime && { updateTime: new Date(timestampMs(updateTime)) }),
    ...(expireTime && { expireTime: new Date(timestampMs(expireTime)) }),
    ...(ttl && { ttlSeconds: Number(ttl.seconds) }),
    refreshOnUse,
    pinned,
    ...(deleteTime && { deleteTime: new Date(timestampMs(deleteTime)) }),
    ...(purgeTime && { purgeTime: new Date(timestampMs(purgeTime)) }),
    etag,
    ...(progress && {
      progress: {
        phase: (Progress_Phase[progress.phase] ?? "UNSPECIFIED") as BuildPhase,
        done: progress.done,
        total: progress.total,
        restarts: progress.restarts,
      },
    }),
    ...(report && { report: reportOf(report) }),
    ...(error && { error: fromRpcStatus(error) }),
  };
}

function reportOf(report: CompressionReportMessage): CompressionReport {
  const { contextTokens, prefixTokens, keepRatio, keptRatio, queryAgnostic, resumedTokens, seconds, layers } = report;
  const { queue = 0, load = 0, prefill = 0, score = 0, compress = 0, publish = 0 } = seconds ?? {};
  return {
    contextTokens,
    prefixTokens,
    keepRatio,
    keptRatio,
    keptPairs: Number(report.keptPairs),
    totalPairs: Number(report.totalPairs),
    rawBytesF16: Number(report.rawBytesF16),
    storedBytes: Number(report.storedBytes),
    queryAgnostic,
    resumedTokens,
    seconds: { queue, load, prefill, score, compress, publish },
    keptPerLayerAndHead: layers.map(({ keptPerHead }) => keptPerHead),
  };
}
