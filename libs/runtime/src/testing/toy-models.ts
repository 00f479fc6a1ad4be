/**
 * Toy models by name, each with a fault of its own: what an engine process meets in the wild.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { ModelRunner } from "../model-runner.ts";
import { createToyRunner, type ToyHooks } from "./toy-runner.ts";

const blocked = new Int32Array(new SharedArrayBuffer(4));

/** Blocks the thread as a run does. */
function block(ms: number): void {
  Atomics.wait(blocked, 0, 0, ms);
}

function dieAfter(runs: number): () => void {
  let left = runs;
  return () => {
    if (--left < 0) process.kill(process.pid, "SIGKILL");
  };
}

const FAULTS: Readonly<Record<string, () => ToyHooks>> = {
  toy: () => ({}),
  /** Every run blocks for a while. */
  "toy-slow": () => ({ onPrefillRun: () => block(30), onStepRun: () => block(10) }),
  /** The first run never ends. */
  "toy-hung": () => ({ onPrefillRun: () => block(600_000), onStepRun: () => block(600_000) }),
  /** Killed in the middle of a prefill, or of an answer. */
  "toy-dies-in-prefill": () => ({ onPrefillRun: dieAfter(2) }),
  "toy-dies-in-answer": () => ({ onStepRun: dieAfter(4) }),
  /** Alive, but a prefill never comes to an end and hears no cancellation. */
  "toy-deaf": () => ({ onPrefillRun: () => new Promise<void>(() => undefined) }),
};

/** Opens a toy by name; all are one model to the outside. */
export async function openToyModel(name: string): Promise<ModelRunner> {
  const hooks = FAULTS[name];
  if (hooks === undefined) throw new KvaultError("MODEL_NOT_FOUND", `Cannot find model "${name}"`, { details: { model: name } });
  return createToyRunner(hooks());
}
