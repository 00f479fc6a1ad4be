/**
 * This process as an engine's channel to its supervisor.
 *
 * Signals that a terminal or an orchestrator sends to the whole group are left to the
 * supervisor, which drains first. The engine runs at a lower priority: its threads keep every
 * processor busy, and a supervisor beside it must still answer health checks, renew leases and
 * stream tokens at once. Threads started later inherit it.
 *
 * @module
 */
import { setPriority } from "node:os";
import type { ToEngine } from "./messages.ts";
import type { EngineChannel } from "./serve.ts";

/** Nice value: about a third of the share of a process at 0 where both want the processor. */
const ENGINE_PRIORITY = 5;

export function processChannel(): EngineChannel {
  lowerPriority();
  process.on("SIGINT", () => undefined);
  process.on("SIGTERM", () => undefined);
  return {
    send(message) {
      // A supervisor that is gone is noticed by the disconnect.
      if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
    },
    onMessage: (listener) => void process.on("message", (message) => listener(message as ToEngine)),
    onDisconnect: (listener) => void process.on("disconnect", listener),
    exit: (code) => process.exit(code),
  };
}

function lowerPriority(): void {
  try {
    setPriority(ENGINE_PRIORITY);
  } catch {
    // Where it is not allowed the engine works all the same.
  }
}
