/**
 * This process as an engine's channel to its supervisor. Signals that a terminal or an
 * orchestrator sends to the whole group are left to the supervisor, which drains first.
 *
 * @module
 */
import type { ToEngine } from "./messages.ts";
import type { EngineChannel } from "./serve.ts";

export function processChannel(): EngineChannel {
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
