/**
 * The compiled `kvault` command as a process: run to its end, or started and stopped.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { openChannel } from "@kvault/rpc";

const ROOT: string = fileURLToPath(new URL("../../..", import.meta.url));
const BIN: string = fileURLToPath(new URL("../../../cli/bin/kvault.js", import.meta.url));

/** Longest wait for a process to be ready. */
const READY_MS = 60_000;
/** A process that was told to stop gets this long. */
const STOP_MS = 20_000;

/** Smallest model: weak answers, real arithmetic. */
export const SMALL_MODEL = "smollm2-135m";

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Last line of stdout, parsed; undefined when it is not JSON. */
  readonly json: unknown;
}

export type Environment = Readonly<Record<string, string>>;

function launch(args: readonly string[], env: Environment, prefix: readonly string[] = []): ChildProcess {
  const [command = "", ...rest] = [...prefix, process.execPath, BIN, ...args];
  return spawn(command, rest, {
    cwd: ROOT,
    // Whoever runs the tests may have defaults of their own.
    env: { ...process.env, KVAULT_CONFIG_FILE: "/dev/null", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

function lastJson(stdout: string): unknown {
  try {
    return JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "");
  } catch {
    return undefined;
  }
}

/** Runs `kvault …args` to its end. */
export async function kvault(args: readonly string[], env: Environment = {}): Promise<Finished> {
  const child = launch(args, env);
  let stdout = "";
  let stderr = "";
  child.stdout?.on("data", (data: Buffer) => {
    stdout += data.toString();
  });
  child.stderr?.on("data", (data: Buffer) => {
    stderr += data.toString();
  });
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout, stderr, json: lastJson(stdout) };
}

export interface RunningProcess {
  readonly pid: number;
  /** What its first line of stdout said. */
  readonly ready: Readonly<Record<string, unknown>>;
  /** stderr so far. */
  log(): string;
  /** SIGTERM, then SIGKILL when it does not go; resolves with the exit code. Idempotent. */
  stop(): Promise<number | null>;
  kill(signal: NodeJS.Signals): void;
  /** Process ids of its engines. */
  engines(): number[];
}

/**
 * Starts a command that runs until it is stopped; resolves with its first line of JSON.
 * `prefix` is a command that replaces itself with it.
 */
export async function start(
  args: readonly string[],
  env: Environment = {},
  prefix: readonly string[] = [],
): Promise<RunningProcess> {
  const child = launch(args, env, prefix);
  let stdout = "";
  const firstLine = new Promise<Record<string, unknown>>((resolve) => {
    child.stdout?.on("data", (data: Buffer) => {
      stdout += data.toString();
      const end = stdout.indexOf("\n");
      if (end >= 0) resolve(JSON.parse(stdout.slice(0, end)) as Record<string, unknown>);
    });
  });
  return whenReady(child, args, () => firstLine);
}

/** Starts a service; resolves when `address` takes connections. */
export function startService(name: string, env: Environment, address: string): Promise<RunningProcess> {
  return whenReady(launch([name], env), [name], async () => {
    const channel = openChannel(address);
    try {
      await channel.whenReady(READY_MS);
      return { address };
    } finally {
      channel.close();
    }
  });
}

async function whenReady(
  child: ChildProcess,
  args: readonly string[],
  isReady: () => Promise<Readonly<Record<string, unknown>>>,
): Promise<RunningProcess> {
  const exited = once(child, "exit") as Promise<[number | null]>;
  let stderr = "";
  child.stderr?.on("data", (data: Buffer) => {
    stderr += data.toString();
  });
  let timer: NodeJS.Timeout | undefined;
  const ready = await new Promise<Readonly<Record<string, unknown>>>((resolve, reject) => {
    const fail = (reason: string): void => reject(new Error(`kvault ${args.join(" ")}: ${reason}\n${stderr}`));
    timer = setTimeout(() => fail(`not ready in ${READY_MS} ms`), READY_MS);
    child.once("exit", (code) => fail(`ended with ${code}`));
    isReady().then((said) => ("error" in said ? fail(JSON.stringify(said)) : resolve(said)), reject);
  }).finally(() => clearTimeout(timer));
  const pid = child.pid ?? -1;
  return {
    pid,
    ready,
    log: () => stderr,
    kill: (signal) => void child.kill(signal),
    engines: () => childrenOf(pid),
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
      child.kill("SIGTERM");
      const killing = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
      const [code] = await exited;
      clearTimeout(killing);
      return code;
    },
  };
}

/** Process ids whose parent is `pid` (Linux). */
export function childrenOf(pid: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((candidate) => parentOf(candidate) === pid);
}

function parentOf(pid: number): number | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/stat`, "utf8");
    // "pid (command) state ppid …": the command may hold spaces and brackets.
    return Number(status.slice(status.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return undefined;
  }
}

/** A free TCP port of the loopback interface; somebody else may take it before it is used. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  server.close();
  await once(server, "close");
  return port;
}
