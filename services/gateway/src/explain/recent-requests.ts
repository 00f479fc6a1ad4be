/**
 * What became of the last requests: how each was routed, what it found, what each phase cost. Kept
 * in memory, bounded, by tenant: nobody finds somebody else's. No text is ever in it.
 *
 * @module
 */
import type { Answer } from "@kvault/rpc";

/** Requests remembered; some hundred bytes each. */
const MAX_REQUESTS = 2_000;
/** Tries of one request remembered; a batch has many. */
const MAX_ATTEMPTS = 64;

export interface Attempt {
  readonly worker: string;
  /** `resident`, `load`, `retry` or `move`. */
  readonly decision: string;
  /** Since the request came, milliseconds. */
  readonly atMs: number;
  /** Tokens that had been sent before it. */
  readonly sentTokens: number;
  /** "OK", the code of its error, or "" while it runs. */
  outcome: string;
}

export interface RecentRequest {
  readonly requestId: string;
  /** `kvault.v1.Inference/Query`. */
  readonly method: string;
  readonly traceId: string;
  readonly startTimeMs: number;
  durationMs: number;
  outcome: string;
  contextId: string;
  model: string;
  readonly attempts: Attempt[];
  answer: Pick<Answer, "usage" | "timings" | "cache"> | undefined;
}

export class RecentRequests {
  /** By tenant and request id, oldest first. */
  readonly #requests = new Map<string, RecentRequest>();
  readonly #limit: number;

  constructor(limit: number = MAX_REQUESTS) {
    this.#limit = limit;
  }

  /** A request came; a later one of the same id takes its place. */
  begin(tenant: string, started: Pick<RecentRequest, "requestId" | "method" | "traceId" | "startTimeMs">): RecentRequest {
    const request: RecentRequest = {
      ...started,
      durationMs: 0,
      outcome: "",
      contextId: "",
      model: "",
      attempts: [],
      answer: undefined,
    };
    const key = keyOf(tenant, started.requestId);
    this.#requests.delete(key);
    this.#requests.set(key, request);
    if (this.#requests.size > this.#limit) this.#requests.delete(this.#requests.keys().next().value as string);
    return request;
  }

  get(tenant: string, requestId: string): RecentRequest | undefined {
    return this.#requests.get(keyOf(tenant, requestId));
  }

  /** What is known of the request that `call` serves. */
  note(call: Call, found: Partial<Pick<RecentRequest, "contextId" | "model" | "answer">>): void {
    const request = this.get(call.principal.tenant, call.requestId);
    if (request !== undefined) Object.assign(request, found);
  }

  /** A worker is asked; tell the returned function how that ended. */
  attempt(call: Call, tried: Pick<Attempt, "worker" | "decision" | "sentTokens">): (outcome: string) => void {
    const request = this.get(call.principal.tenant, call.requestId);
    if (request === undefined || request.attempts.length >= MAX_ATTEMPTS) return () => undefined;
    const attempt: Attempt = { ...tried, atMs: Date.now() - request.startTimeMs, outcome: "" };
    request.attempts.push(attempt);
    return (outcome) => {
      if (attempt.outcome === "") attempt.outcome = outcome;
    };
  }
}

interface Call {
  readonly principal: { readonly tenant: string };
  readonly requestId: string;
}

function keyOf(tenant: string, requestId: string): string {
  return `${tenant}\n${requestId}`;
}
