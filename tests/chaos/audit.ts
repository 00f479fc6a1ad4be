/**
 * What is left when all faults are over and the cluster is whole again: in the queue, in the
 * catalogue, in the store.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Cluster, createClient, openChannel } from "@kvault/rpc";
import { redisCommand } from "../servers/redis-server.ts";
import type { ChaosCluster } from "./chaos-cluster.ts";
import type { Findings } from "./findings.ts";
import { NUM_PROCESSES } from "./plan.ts";

/** For all processes to be back and known to every gateway. */
const WHOLE_MS = 90_000;
/** For builds under way to end. */
const IDLE_MS = 60_000;
const LOOK_MS = 250;
const QUEUE = "kvault:builds";

/** Resolves when every gateway knows every worker as live; whether that came about in time. */
export async function untilWhole({ addresses }: ChaosCluster): Promise<boolean> {
  const numWorkers = NUM_PROCESSES.prefill + NUM_PROCESSES.decode;
  const seen = await Promise.all(
    addresses.map(async (address) => {
      const channel = openChannel(address);
      const cluster = createClient(Cluster, channel);
      try {
        return await eventually(WHOLE_MS, async () => {
          const { workers } = await cluster.listWorkers({}, { deadlineMs: Date.now() + 5_000 });
          return workers.filter(({ live }) => live).length >= numWorkers;
        });
      } finally {
        channel.close();
      }
    }),
  );
  return seen.every(Boolean);
}

/** No job waits or runs. */
export async function auditQueue({ servers }: ChaosCluster, findings: Findings): Promise<void> {
  const count = async (command: string, list: string): Promise<number> =>
    Number((await redisCommand(servers.queue.port, `${command} ${QUEUE}:${list}`)).slice(1));
  const jobs = async (): Promise<number> =>
    (await count("LLEN", "wait")) + (await count("LLEN", "active")) + (await count("ZCARD", "delayed"));
  if (!(await eventually(IDLE_MS, async () => (await jobs()) === 0))) {
    findings.report("stuckJobs", `${await jobs()} jobs are in the queue and do not end`);
  }
}

/** Every record is whole, and of a context that there is; every context that there is has one. */
export async function auditStore(
  { recordsFolder }: ChaosCluster,
  { present, damaged }: { readonly present: ReadonlySet<string>; readonly damaged: ReadonlySet<string> },
  findings: Findings,
): Promise<void> {
  const ids = await readdir(recordsFolder).catch(() => []);
  const visible = ids.filter((id) => existsSync(path.join(recordsFolder, id, "manifest.json")));
  for (const id of visible) {
    if (damaged.has(id)) continue;
    const manifest = JSON.parse(await readFile(path.join(recordsFolder, id, "manifest.json"), "utf8")) as unknown;
    for (const sha256 of digestsIn(manifest)) {
      const file = path.join(recordsFolder, id, "parts", `${sha256}.safetensors`);
      const bytes = await readFile(file).catch(() => undefined);
      const found = bytes === undefined ? "absent" : createHash("sha256").update(bytes).digest("hex");
      if (found !== sha256) findings.report("halfVisible", `${id} has a manifest, and part ${sha256} is ${found}`);
    }
  }
  for (const id of present) {
    if (!visible.includes(id)) findings.report("lostContexts", `${id} is ACTIVE and has no manifest`);
  }
}

/** Names of the parts of a manifest, of whatever version. */
function digestsIn(manifest: unknown): string[] {
  const found: string[] = [];
  const visit = (value: unknown, key: string): void => {
    if (Array.isArray(value)) for (const each of value) visit(each, key);
    else if (value instanceof Object)
      for (const [name, each] of Object.entries(value)) visit(each, key === "parts" ? `parts.${name}` : name);
    else if (key === "parts.sha256" && typeof value === "string") found.push(value);
  };
  visit(manifest, "");
  return found;
}

async function eventually(patienceMs: number, look: () => Promise<boolean>): Promise<boolean> {
  for (const startMs = performance.now(); performance.now() - startMs < patienceMs; ) {
    if (await look().catch(() => false)) return true;
    await sleep(LOOK_MS);
  }
  return false;
}
