/**
 * A supervisor for tests to kill: starts a toy engine over the store directory given as its
 * argument and tells the engine's pid.
 *
 * @module
 */
import { openEngine } from "../engine/client.ts";
import { spawnToyEngine } from "./spawn-toy-engine.ts";

const directory = process.argv[2] ?? "";
const engine = await openEngine({
  storeUrl: `file:${directory}`,
  cacheDir: directory,
  offline: true,
  numThreads: 1,
  residentBytes: 1_000_000,
  activations: "int8",
  spawn: spawnToyEngine,
});
process.send?.(engine.status().pid);
