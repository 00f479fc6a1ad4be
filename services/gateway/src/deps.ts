/**
 * What handlers are given: made once in start-gateway.ts, seen through the caller's tenant in
 * rpc/services.ts. Nothing here is global.
 *
 * @module
 */
import type { ProfileStore } from "@kvault/compression";
import type { BlobStore } from "@kvault/kvstore";
import type { ModelHub } from "@kvault/model";
import type { Admission } from "./admission/admission.ts";
import type { BuildQueue } from "./builds/build-job.ts";
import type { Builder } from "./builds/builder.ts";
import type { RefreshOnUse } from "./catalogue/refresh-on-use.ts";
import type { Remover } from "./catalogue/remover.ts";
import type { TenantCatalogue } from "./catalogue/tenant-catalogue.ts";
import type { RecentRequests } from "./explain/recent-requests.ts";
import type { DecodePool } from "./workers/decode-pool.ts";
import type { PrefillPool } from "./workers/prefill-pool.ts";

/** Whose contexts a call makes. */
export interface Owner {
  readonly tenant: string;
  /** Secret in every digest of the tenant's contexts; "" for the tenant of servers without tokens. */
  readonly salt: string;
}

export interface GatewayDeps {
  /** The caller's contexts; there are no others. */
  readonly catalogue: TenantCatalogue;
  readonly owner: Owner;
  readonly queue: BuildQueue;
  readonly builder: Builder;
  readonly remover: Remover;
  readonly refresh: Pick<RefreshOnUse, "used">;
  /** How long a deleted context can be undeleted; 0: not at all. */
  readonly retentionMs: number;
  readonly prefill: Pick<PrefillPool, "links">;
  readonly decode: DecodePool;
  readonly admission: Admission;
  /** What is remembered of the last requests. */
  readonly recent: RecentRequests;
  readonly store: BlobStore;
  readonly models: Pick<ModelHub, "list" | "describe" | "isPresent">;
  /** Measurements of models that some methods rest on. */
  readonly profiles: ProfileStore;
  /** Preset or spec of requests that name none. */
  readonly defaultSpec?: string;
}
