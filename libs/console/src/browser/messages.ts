/**
 * Messages of /v1 as the console reads them: proto3 JSON, names of the proto files, 64-bit counts as
 * strings, what is zero left out unless the endpoint says it writes everything.
 *
 * @module
 */
type State = "STATE_CREATING" | "STATE_ACTIVE" | "STATE_FAILED" | "STATE_DELETING" | "STATE_DELETED";

export interface Context {
  readonly name: string;
  readonly state: State;
  readonly model: string;
  readonly display_name?: string;
  readonly spec?: string;
  readonly create_time?: string;
  readonly expire_time?: string;
  readonly pinned?: boolean;
  readonly purge_time?: string;
  readonly progress?: Progress;
  readonly report?: Report;
  readonly error?: { readonly message?: string; readonly details?: readonly { readonly reason?: string }[] };
}

export interface Progress {
  readonly phase?: string;
  readonly done?: number;
  readonly total?: number;
  readonly restarts?: number;
}

interface Report {
  readonly spec?: string;
  readonly context_tokens?: number;
  readonly prefix_tokens?: number;
  readonly keep_ratio?: number;
  readonly kept_ratio?: number;
  readonly kept_pairs?: string;
  readonly total_pairs?: string;
  readonly raw_bytes_f16?: string;
  readonly stored_bytes?: string;
  readonly seconds?: Readonly<Record<string, number>>;
}

export interface Kept {
  readonly prefix_tokens: number;
  readonly context_tokens: number;
  readonly bin_tokens: number;
  readonly rows: readonly { readonly layer: number; readonly kv_head: number; readonly kept_per_bin: readonly number[] }[];
  readonly text: readonly Piece[];
  readonly text_rows: number;
}

export interface Piece {
  readonly text: string;
  readonly tokens: number;
  readonly kept_pairs: number;
}

export interface Worker {
  readonly role: "ROLE_PREFILL" | "ROLE_DECODE";
  readonly address: string;
  readonly live: boolean;
  readonly draining: boolean;
  readonly models: readonly string[];
  readonly running_builds: number;
  readonly running_queries: number;
  readonly resident_bytes: string;
  readonly resident_contexts: readonly string[];
  readonly engine_restarts: number;
}

export interface Model {
  readonly id: string;
  readonly kvault: { readonly max_tokens: number; readonly present: boolean };
}

/** A chunk of a streamed chat completion. */
export interface Chunk {
  readonly choices: readonly { readonly delta: { readonly content?: string }; readonly finish_reason: string | null }[];
  readonly usage?: { readonly completion_tokens: number; readonly prompt_tokens: number } | null;
  readonly kvault?: {
    readonly kept_pairs: number;
    readonly timings: { readonly load_ms: number; readonly ttft_ms: number; readonly tpot_ms: number; readonly total_ms: number };
    readonly cache: { readonly tier: string; readonly reason: string };
  };
}
