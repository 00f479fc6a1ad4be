/**
 * What handlers are given. Made once in start-gateway.ts; nothing here is global.
 *
 * @module
 */
import type { BlobStore } from "@kvault/kvstore";
import type { ModelHub } from "@kvault/model";
import type { BuildQueue } from "./builds/build-job.ts";
import type { Builder } from "./builds/builder.ts";
import type { ContextCatalogue } from "./catalogue/context-catalogue.ts";
import type { Remover } from "./catalogue/remover.ts";
import type { DecodePool } from "./workers/decode-pool.ts";

export interface GatewayDeps {
  readonly catalogue: ContextCatalogue;
  readonly queue: BuildQueue;
  readonly builder: Builder;
  readonly remover: Remover;
  readonly decode: DecodePool;
  readonly store: BlobStore;
  readonly models: Pick<ModelHub, "list" | "describe" | "isPresent">;
  readonly defaultSpec: string;
}
