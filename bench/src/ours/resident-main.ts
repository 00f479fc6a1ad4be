/**
 * A process that makes a stored record resident several times and says what its memory grew by.
 *
 *     node --expose-gc resident-main.ts STORE_URL CONTEXT_ID TIMES
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { openStore } from "@kvault/kvstore";
import type { ResidentContext } from "@kvault/runtime";
import { readResident } from "./resident.ts";

export interface ResidentReply {
  readonly grownBytes: number;
  /** Keys and values that are kept, in f32. */
  readonly keptBytes: number;
}

/** Garbage is collected, and freed pages are given back a little later. */
const SETTLE_MS = 200;

async function settledBytes(): Promise<number> {
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.();
    await sleep(SETTLE_MS);
  }
  const [, kib = "0"] = /^VmRSS:\s+(\d+)/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return Number(kib) * 1_024;
}

const [storeUrl = "", contextId = "", times = "1"] = process.argv.slice(2);
const store = await openStore(storeUrl);
// What reading one leaves behind (code, pages of the allocator) is there before the counted ones.
await readResident(store, contextId);
const before = await settledBytes();
const contexts: ResidentContext[] = [];
for (let i = 0; i < Number(times); i++) contexts.push(await readResident(store, contextId));
const grownBytes = (await settledBytes()) - before;
const keptBytes = contexts.reduce((sum, { bytes }) => sum + bytes, 0);
await store.close();
process.send?.({ grownBytes, keptBytes } satisfies ResidentReply);
process.disconnect();
