/**
 * `pip download` as a child process. The machine's own pip decides which index serves the package,
 * through which proxy and with which certificates; nothing of that is repeated here.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { abortError } from "@kvault/core";

/** Tried in order; the first that starts and knows pip is used. */
const COMMANDS: readonly (readonly [command: string, ...args: readonly string[]])[] = [
  ["python3", "-m", "pip"],
  ["pip3"],
  ["pip"],
];
/** Of what pip printed, the end is kept for the error. */
const KEPT_OUTPUT_CHARACTERS = 2_000;

export interface PipDownload {
  readonly name: string;
  readonly version: string;
  /** The wheel lands here. */
  readonly destination: string;
  /** pip's scratch space; beside the destination, so that its growth can be watched and it is cleaned up with it. */
  readonly scratch: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/** Downloads one wheel without its dependencies. Throws Error with the end of pip's output; CANCELLED on abort. */
export async function pipDownload(download: PipDownload): Promise<void> {
  const missing: string[] = [];
  for (const [command, ...prefix] of COMMANDS) {
    const outcome = await run(command, [...prefix, ...downloadArguments(download)], download);
    if (outcome.kind === "done") return;
    if (outcome.kind === "failed") throw new Error(`pip download ${download.name}==${download.version}: ${outcome.reason}`);
    missing.push(command);
  }
  throw new Error(`pip is not installed (tried ${missing.join(", ")})`);
}

function downloadArguments({ name, version, destination }: PipDownload): string[] {
  const quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--no-cache-dir"];
  return ["download", ...quiet, "--no-deps", "--only-binary", ":all:", "--dest", destination, `${name}==${version}`];
}

type Outcome = { readonly kind: "done" } | { readonly kind: "missing" } | { readonly kind: "failed"; readonly reason: string };

function run(command: string, args: readonly string[], { scratch, timeoutMs, signal }: PipDownload): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(abortError(signal));
      return;
    }
    const timeout = AbortSignal.timeout(timeoutMs);
    const child = spawn(command, args, {
      // biome-ignore lint/style/noProcessEnv: pip finds its settings in the environment it inherits
      env: { ...process.env, TMPDIR: scratch },
      stdio: ["ignore", "pipe", "pipe"],
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
      killSignal: "SIGKILL",
    });
    let output = "";
    const keep = (chunk: Buffer): void => {
      output = (output + chunk.toString("utf8")).slice(-KEPT_OUTPUT_CHARACTERS);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
    let spawnError: NodeJS.ErrnoException | undefined;
    child.on("error", (error) => {
      spawnError = error;
    });
    child.on("close", (code, killedBy) => {
      if (code === 0) resolve({ kind: "done" });
      else if (signal?.aborted) reject(abortError(signal));
      else if (timeout.aborted) resolve({ kind: "failed", reason: `not finished after ${timeoutMs} ms` });
      else if (spawnError?.code === "ENOENT" || /No module named '?pip'?/.test(output)) resolve({ kind: "missing" });
      else resolve({ kind: "failed", reason: lastLines(output) || `exit ${code ?? killedBy ?? spawnError?.code}` });
    });
  });
}

/** The last two lines that say something. */
function lastLines(output: string): string {
  return output
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("WARNING: Retrying"))
    .slice(-2)
    .join(" ");
}
