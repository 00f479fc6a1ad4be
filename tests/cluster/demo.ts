/**
 * `make cluster-demo`: the demo's job across a cluster of real processes, then what the cluster
 * says of itself.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { startClusterProcesses } from "./cluster-processes.ts";

const KVAULT: string = fileURLToPath(new URL("../../cli/bin/kvault.js", import.meta.url));

/** Runs `kvault …args` before everybody's eyes; its exit code. */
async function kvault(...args: readonly string[]): Promise<number> {
  process.stderr.write(`\n$ kvault ${args.join(" ")}\n`);
  const child = spawn(process.execPath, [KVAULT, ...args], { stdio: "inherit" });
  const [code] = (await once(child, "exit")) as [number | null];
  return code ?? 1;
}

process.stderr.write("starting   Redis, an S3 server, 2 prefill workers, 2 decode workers and a gateway\n");
const cluster = await startClusterProcesses({ prefillWorkers: 2, decodeWorkers: 2, threads: 1 });
try {
  const demo = await kvault("demo", "--address", cluster.address);
  const status = await kvault("status", "--address", cluster.address);
  process.exitCode = demo || status;
} finally {
  await cluster.stop();
}
