/**
 * What a supervisor asks of an engine. K/V bytes never cross this line: the engine reads
 * and writes the store itself.
 *
 * @module
 */
import type { ContextManifest } from "@kvault/kvstore";
import type { ChatMessage, ModelConfig, ModelIdentity } from "@kvault/model";
import type { DeviceName } from "../devices/device.ts";

export type Content = { readonly text: string } | { readonly messages: readonly ChatMessage[] };

/** How to start an engine process. */
export interface EngineOptions {
  /** `file:…` or `memory:` (tests only); see kvstore's open-store. */
  readonly storeUrl: string;
  /** Master keys of tenants' keys: parts are then sealed. Absent: they are not, and sealed ones do not open. */
  readonly masterKeyFile?: string;
  /** Model files and generated graphs. */
  readonly cacheDir: string;
  /** Refuse to download models. */
  readonly offline: boolean;
  /** ONNX Runtime intra-op threads. */
  readonly numThreads: number;
  /** Bytes of resident contexts before the least recently used is let go. */
  readonly residentBytes: number;
  /** `int8` activations inside MatMulNBits, or `f32` (slower; for accuracy studies). */
  readonly activations: "int8" | "f32";
  /** Where models run; `cuda` needs the native addon (docs/gpu.md). `cpu` when absent. */
  readonly device?: DeviceName;
  /** Contexts of so many tokens and more keep checkpoints of their prefill; never when absent. */
  readonly checkpointTokens?: number;
  /** What it works for, in the name of its telemetry: `prefill` or `decode`. */
  readonly role?: string;
  /** Models kept open at once; 2 when absent. */
  readonly maxModels?: number;
}

export interface BuildRequest {
  readonly contextId: string;
  /** Owner of the context; its key seals the parts where there are keys. */
  readonly tenant: string;
  /** The owner's secret in the digest; "" for none. */
  readonly tenantSalt: string;
  readonly digest: string;
  readonly model: string;
  readonly content: Content;
  /** As in the digest: see kvstore's `saltedContent`. */
  readonly contentSha256: string;
  /** Full spec, keep ratio included. */
  readonly spec: string;
  readonly displayName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createTimeMs: number;
  /** 0: never. */
  readonly expireTimeMs: number;
}

export type BuildPhase = "loading" | "prefill" | "score" | "compress" | "publish";

export interface BuildProgress {
  readonly phase: BuildPhase;
  /** Tokens in prefill and score, layers in compress and publish. */
  readonly done: number;
  readonly total: number;
}

export interface SamplingOptions {
  /** 0: greedy. */
  readonly temperature: number;
  /** (0, 1]; 1: off. */
  readonly topP: number;
  /** 0: off. */
  readonly topK: number;
  readonly seed: number;
}

export interface QueryRequest {
  readonly source:
    | { readonly type: "stored"; readonly contextId: string; readonly digest: string }
    | { readonly type: "inline"; readonly content: Content };
  readonly model: string;
  readonly question: string;
  /** Earlier turns about the context: a question, its answer, and so on. None when absent. */
  readonly turns?: readonly ChatMessage[];
  readonly sampling: SamplingOptions;
  /** Of the whole answer, resumed tokens included. */
  readonly maxTokens: number;
  readonly stop: readonly string[];
  /** How long the record may take to load: STORE_UNAVAILABLE then. As long as it takes when absent. */
  readonly loadTimeoutMs?: number;
  /** Where the answer goes on, when another engine has begun it. */
  readonly resume?: ResumePoint;
}

/** What was sent of an answer: all deltas, joined. */
export interface ResumePoint {
  readonly tokenIds: readonly number[];
  /** UTF-16 code units of the text. */
  readonly textUnits: number;
}

export type FinishReason = "end" | "stop" | "max-tokens";
export type CacheTier = "memory" | "store" | "none";
export type CacheReason = "RESIDENT" | "FIRST_USE" | "EVICTED" | "ENGINE_RESTARTED" | "INLINE";

export interface CacheInfo {
  readonly tier: CacheTier;
  readonly reason: CacheReason;
  readonly bytesLoaded: number;
}

/** Whole characters, never part of a stop string, and the tokens drawn for them. */
export interface QueryDelta {
  readonly type: "delta";
  readonly text: string;
  readonly tokenIds: readonly number[];
}

/** Always the last event. */
export interface QueryAnswer {
  readonly type: "answer";
  /** All deltas joined, those before a resumption included. */
  readonly text: string;
  readonly finishReason: FinishReason;
  readonly usage: {
    /** Template prefix not included. */
    readonly contextTokens: number;
    readonly keptPairs: number;
    readonly questionTokens: number;
    /** The token that ended the answer not included; resumed ones are. */
    readonly newTokens: number;
  };
  readonly timings: {
    /** Receipt to the first run that read the question, loading not included. */
    readonly queueMs: number;
    /** Making model and context resident; for an inline text, reading it. */
    readonly loadMs: number;
    /** Receipt to the first token. */
    readonly ttftMs: number;
    /** Mean gap between the tokens after the first; 0 for fewer than two. */
    readonly tpotMs: number;
    readonly totalMs: number;
  };
  readonly cache: CacheInfo;
  readonly seed: number;
}

export type QueryEvent = QueryDelta | QueryAnswer;

export interface LoadRequest {
  readonly contextId: string;
  readonly digest: string;
  readonly model: string;
}

export interface InspectContextRequest extends LoadRequest {
  /** Bins of a row at most. */
  readonly maxBins: number;
  /** What the context was made of, to show which of it was kept; with its digest, as in the record's identity. */
  readonly content?: Content;
  readonly contentSha256: string;
  /** Count only this layer, only this KV head, in the text. */
  readonly layer?: number;
  readonly kvHead?: number;
}

/** Which pairs a record kept, counted. */
export interface KeptPairs {
  readonly prefixTokens: number;
  readonly contextTokens: number;
  readonly numLayers: number;
  readonly numKvHeads: number;
  /** Positions counted together, prefix included. */
  readonly binTokens: number;
  readonly numBins: number;
  /** `[layer, kvHead, bin]`: kept positions. */
  readonly kept_LKB: Uint32Array;
  /** Rows that `text` counts. */
  readonly textRows: number;
  /** None without a content. */
  readonly text: readonly KeptText[];
}

export interface KeptText {
  readonly text: string;
  readonly tokens: number;
  /** Of at most tokens × textRows. */
  readonly keptPairs: number;
}

export interface CountTokensRequest {
  readonly model: string;
  readonly content?: Content;
  /** "": none. */
  readonly question: string;
}

export interface TokenCounts {
  /** Template prefix not included. */
  readonly contextTokens: number;
  readonly prefixTokens: number;
  /** With the template around it. */
  readonly questionTokens: number;
  /** Longest context plus question plus answer. */
  readonly maxTokens: number;
}

/** A finished build. */
export interface BuildResult {
  readonly manifest: ContextManifest;
  /** False when another builder had committed the same context first. */
  readonly created: boolean;
}

export interface InspectScoresRequest {
  readonly model: string;
  /** Token ids, template prefix included. */
  readonly ids: Int32Array;
  readonly prefixTokens: number;
  /** A scorer, a preset or a whole spec. */
  readonly method: string;
  /** Where to write `scores` F32 [L, K, S] and `last_logits` F32 [V]. */
  readonly outPath: string;
}

export interface InspectScoresResult {
  /** Canonical text of the scorer. */
  readonly spec: string;
  readonly numLayers: number;
  readonly numKvHeads: number;
  readonly seqLen: number;
}

/** What opening a model told. */
export interface ModelFacts {
  readonly config: ModelConfig;
  readonly identity: ModelIdentity;
}

export interface DownloadProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** What an engine process holds. */
export interface EngineSnapshot {
  readonly residentContextIds: readonly string[];
  readonly residentBytes: number;
  /** Models that are open. */
  readonly models: readonly string[];
  /** Of resident contexts, those being read by queries. */
  readonly occupiedBytes?: number;
  /** Contexts let go to make room, since the process began. */
  readonly evictions?: number;
}

/**
 * `starting`: the first process comes up. `restarting`: one died, the next comes up; calls wait.
 * `failed`: it died too often without coming up; calls are refused. `closed`: by us.
 */
export type EngineHealth = "starting" | "ready" | "restarting" | "failed" | "closed";

/** What it holds as of its last heartbeat: asking never waits for a run. */
export interface EngineStatus extends EngineSnapshot {
  /** Calls it has not finished, waiting and cancelled ones included. */
  readonly runningBuilds: number;
  readonly runningQueries: number;
  readonly health: EngineHealth;
  /** Times the process was started again. */
  readonly restarts: number;
  readonly pid: number | undefined;
}

export interface BuildOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: BuildProgress) => void;
  /** Awaited when everything is put and only the commit is left; a rejection ends the build with it. For builders' leases. */
  readonly beforeCommit?: () => Promise<void>;
}

export interface OpenModelOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: DownloadProgress) => void;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
}

/** A supervised engine process. Every method may reject with ENGINE_DIED (retryable) and, once closed, with CLOSED. */
export interface Engine {
  /** Prefill, score, compress, publish. Builds run one at a time, in the order they came. */
  build(request: BuildRequest, options?: BuildOptions): Promise<BuildResult>;
  /** Deltas, then the answer. Starts when iterated; leaving the loop cancels it. */
  query(request: QueryRequest, options?: CallOptions): AsyncIterable<QueryEvent>;
  /** Makes a context resident. */
  load(request: LoadRequest, options?: CallOptions): Promise<CacheInfo>;
  /** Lets a context go; false when it was not resident. Running queries on it finish. */
  evict(contextId: string, options?: CallOptions): Promise<boolean>;
  /** Which pairs a stored record kept; nothing becomes resident. Inspections run one at a time. */
  inspectContext(request: InspectContextRequest, options?: CallOptions): Promise<KeptPairs>;
  /** Tokens as the model counts them; opens it. */
  countTokens(request: CountTokensRequest, options?: CallOptions): Promise<TokenCounts>;
  /** Downloads and opens a model ahead of its first use. */
  openModel(model: string, options?: OpenModelOptions): Promise<ModelFacts>;
  inspectScores(request: InspectScoresRequest, options?: Omit<BuildOptions, "beforeCommit">): Promise<InspectScoresResult>;
  status(): EngineStatus;
  /** Ends everything that runs and the process. Idempotent. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
