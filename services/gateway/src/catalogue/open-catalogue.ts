/**
 * URL → catalogue: `memory:` is this gateway's alone, `redis://…` is shared by several.
 *
 * @module
 */
import { isMemory } from "@kvault/cluster";
import type { BlobStore } from "@kvault/kvstore";
import type { ContextCatalogue } from "./context-catalogue.ts";
import { recordInStore } from "./from-manifest.ts";
import { MemoryCatalogue } from "./memory.ts";
import { RedisCatalogue } from "./redis.ts";

/** INVALID_ARGUMENT for an unknown scheme or setting. `store` mends rows that cannot be read; its owner closes it. */
export function openCatalogue(url: string, store?: BlobStore): ContextCatalogue {
  if (isMemory(url)) return new MemoryCatalogue();
  return new RedisCatalogue(url, async (id) => (store === undefined ? undefined : recordInStore(store, id)));
}
