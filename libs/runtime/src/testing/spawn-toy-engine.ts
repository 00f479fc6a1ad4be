/**
 * Real engine processes that run toy models.
 *
 * @module
 */
import { forkEngine, type SpawnEngine } from "../engine/engine-process.ts";

const entry = new URL(import.meta.url.endsWith(".ts") ? "./toy-engine-main.ts" : "./toy-engine-main.js", import.meta.url);

/** For `openEngine`'s `spawn`. */
export const spawnToyEngine: SpawnEngine = forkEngine(entry);
