/**
 * The life of one engine process: forked, spoken to, ended. What to do about a death is the
 * client's business.
 *
 * @module
 */
import { type ChildProcess, fork } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { FromEngine, ToEngine } from "./messages.ts";

/** How a process ended. */
export interface EngineExit {
  readonly exitCode: number | undefined;
  readonly exitSignal: string | undefined;
}

export interface EngineProcess {
  readonly pid: number | undefined;
  /** Never throws: what a dead process does not read is settled by its exit. */
  send(message: ToEngine): void;
  /** SIGKILL; the exit is reported as any other. */
  kill(): void;
}

export interface EngineProcessEvents {
  onMessage(message: FromEngine): void;
  /** Exactly once; no message comes after it. */
  onExit(exit: EngineExit): void;
}

export type SpawnEngine = (events: EngineProcessEvents) => EngineProcess;

/** Forks `entry` for each engine. Its standard output goes to our standard error, which is no result of ours. */
export function forkEngine(entry: URL): SpawnEngine {
  return (events) => {
    const child = fork(fileURLToPath(entry), [], {
      execArgv: execArgvFor(entry),
      serialization: "advanced",
      stdio: ["ignore", 2, 2, "ipc"],
    });
    return watch(child, events);
  };
}

/** From source, the engine needs the same loader and export condition as we have. */
function execArgvFor(entry: URL): string[] {
  if (!entry.pathname.endsWith(".ts")) return [];
  const loader = createRequire(import.meta.url).resolve("tsx");
  return ["--import", pathToFileURL(loader).href, "--conditions=kvault-source"];
}

function watch(child: ChildProcess, events: EngineProcessEvents): EngineProcess {
  let exited = false;
  const exit = (exitCode: number | null, exitSignal: string | null): void => {
    if (exited) return;
    exited = true;
    events.onExit({ exitCode: exitCode ?? undefined, exitSignal: exitSignal ?? undefined });
  };
  child.on("message", (message) => {
    if (!exited) events.onMessage(message as FromEngine);
  });
  child.on("exit", exit);
  // A process that could not be started never exits.
  child.on("error", () => {
    if (child.pid === undefined) exit(null, null);
  });
  return {
    pid: child.pid,
    send: (message) => {
      if (child.connected) child.send(message, () => undefined);
    },
    kill: () => void child.kill("SIGKILL"),
  };
}
