/**
 * Requests and tokens per second of every tenant. Per gateway process: with several, a tenant has
 * its rate at each of them.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { Quotas } from "@kvault/rpc";
import { TokenBucket } from "./token-bucket.ts";

export interface TenantRatesOptions {
  quotasOf(tenant: string): Quotas;
  readonly nowMs?: () => number;
}

/** Tenants come from the access file, which has a limit of its own; so this map has one. */
type Buckets = Map<string, TokenBucket>;

export class TenantRates {
  readonly #quotasOf: (tenant: string) => Quotas;
  readonly #nowMs: () => number;
  readonly #requests: Buckets = new Map();
  readonly #tokens: Buckets = new Map();

  constructor({ quotasOf, nowMs = Date.now }: TenantRatesOptions) {
    this.#quotasOf = quotasOf;
    this.#nowMs = nowMs;
  }

  /** QUOTA_EXCEEDED with the time to wait when the tenant's rate is used up; else counts one request. */
  admit(tenant: string): void {
    const { requestsPerSecond, tokensPerSecond } = this.#quotasOf(tenant);
    const owed = this.#bucket(this.#tokens, tenant, tokensPerSecond)?.waitMs() ?? 0;
    if (owed > 0) throw exceeded(tenant, "tokensPerSecond", tokensPerSecond, owed);
    const wait = this.#bucket(this.#requests, tenant, requestsPerSecond)?.take() ?? 0;
    if (wait > 0) throw exceeded(tenant, "requestsPerSecond", requestsPerSecond, wait);
  }

  /** Counts tokens that were read or generated. */
  charge(tenant: string, tokens: number): void {
    this.#bucket(this.#tokens, tenant, this.#quotasOf(tenant).tokensPerSecond)?.charge(tokens);
  }

  #bucket(buckets: Buckets, tenant: string, perSecond: number | undefined): TokenBucket | undefined {
    if (perSecond === undefined) {
      buckets.delete(tenant);
      return undefined;
    }
    let bucket = buckets.get(tenant);
    if (bucket === undefined) {
      bucket = new TokenBucket(perSecond, this.#nowMs);
      buckets.set(tenant, bucket);
    }
    bucket.setRate(perSecond);
    return bucket;
  }
}

function exceeded(tenant: string, quota: string, limit: number | undefined, retryAfterMs: number): KvaultError {
  return new KvaultError("QUOTA_EXCEEDED", `Cannot take the call: tenant "${tenant}" has used up its ${quota} of ${limit}`, {
    retryable: true,
    details: { quota, limit: limit ?? 0, subject: `tenant:${tenant}`, retryAfterMs },
  });
}
