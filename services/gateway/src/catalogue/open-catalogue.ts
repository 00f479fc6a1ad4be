/**
 * URL → catalogue: `memory:` is this gateway's alone, `redis://…` is shared by several.
 *
 * @module
 */
import { isMemory } from "@kvault/cluster";
import type { ContextCatalogue } from "./context-catalogue.ts";
import { MemoryCatalogue } from "./memory.ts";
import { RedisCatalogue } from "./redis.ts";

/** INVALID_ARGUMENT for an unknown scheme or setting. */
export function openCatalogue(url: string): ContextCatalogue {
  return isMemory(url) ? new MemoryCatalogue() : new RedisCatalogue(url);
}
