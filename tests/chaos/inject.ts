/**
 * Does to a cluster what the plan says, and takes it back.
 *
 * @module
 */
import { readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { WireFault } from "../servers/fault-proxy.ts";
import { redisCommand } from "../servers/redis-server.ts";
import type { ChaosCluster } from "./chaos-cluster.ts";
import type { Fault, Role, S3Effect } from "./plan.ts";

/** Hash of the catalogue's rows. */
const ROWS_KEY = "kvault:contexts:rows";
/** What a row is overwritten with. */
const GARBAGE = "no row of ours";
const SLOW_MS = 400;

export interface InjectorOptions {
  readonly cluster: ChaosCluster;
  /** Told before bytes of a context at rest are changed. */
  readonly onDamage: (contextId: string) => void;
  /** Told before the store says that it is full. */
  readonly onFull: () => void;
}

const S3_FAULTS: Readonly<Record<S3Effect, WireFault>> = {
  unavailable: { effect: "status", status: 500, code: "InternalError" },
  "slow-down": { effect: "status", status: 503, code: "SlowDown" },
  slow: { effect: "slow", ms: 1_500 },
  truncate: { effect: "truncate", method: "GET" },
  "wrong-length": { effect: "wrong-length", method: "GET" },
  "lose-answer": { effect: "lose-answer" },
  hang: { effect: "hang" },
  full: { effect: "status", method: "PUT", status: 507, code: "InsufficientStorage" },
};

export class Injector {
  readonly #cluster: ChaosCluster;
  readonly #onDamage: InjectorOptions["onDamage"];
  readonly #onFull: InjectorOptions["onFull"];
  readonly #running = new Set<Promise<void>>();
  /** Kills by role, `engine of …` for engines alone. */
  readonly kills: Record<string, number> = {};
  /** Other faults by kind. */
  readonly others: Record<string, number> = {};

  constructor({ cluster, onDamage, onFull }: InjectorOptions) {
    this.#cluster = cluster;
    this.#onDamage = onDamage;
    this.#onFull = onFull;
  }

  /** Begins a fault; it ends by itself. */
  begin(fault: Fault): void {
    const running = this.#apply(fault).finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** Resolves when every fault has ended. */
  async settle(): Promise<void> {
    await Promise.all(this.#running);
  }

  async #apply(fault: Fault): Promise<void> {
    const { services, servers, s3Faults } = this.#cluster;
    switch (fault.kind) {
      case "kill":
        if (isServer(fault.role)) {
          const server = servers[fault.role];
          await server.kill9();
          count(this.kills, fault.role);
          await sleep(fault.ms);
          await server.start();
        } else if (services[fault.role][fault.index]?.kill(fault.ms) === true) count(this.kills, fault.role);
        return;
      case "kill-engine":
        if (services[fault.role][fault.index]?.killEngine() === true) count(this.kills, `engine of ${fault.role}`);
        return;
      case "pause": {
        count(this.others, "pause");
        const paused = isServer(fault.role) ? servers[fault.role] : services[fault.role][fault.index];
        await paused?.pause();
        await sleep(fault.ms);
        paused?.resume();
        return;
      }
      case "cut":
      case "slow":
      case "drop": {
        count(this.others, fault.kind);
        const links = this.#cluster.linksOf(fault.role, fault.index);
        // One of its wires, or all of them: a partition is seldom clean.
        const hit = fault.pick % 2 === 0 ? links : links.filter((_, i) => i === fault.pick % links.length);
        for (const link of hit) {
          if (fault.kind === "cut") link.cut();
          else if (fault.kind === "slow") link.slow(SLOW_MS);
          else link.drop();
        }
        await sleep(fault.ms);
        for (const link of hit) link.heal();
        return;
      }
      case "s3":
        count(this.others, `s3 ${fault.effect}`);
        if (fault.effect === "full") this.#onFull();
        s3Faults.plan(S3_FAULTS[fault.effect]);
        await sleep(fault.ms);
        s3Faults.plan();
        return;
      case "damage-part":
        if (await this.#damagePart(fault.pick)) count(this.others, fault.kind);
        return;
      case "damage-row":
        if (await this.#damageRow(fault.pick)) count(this.others, fault.kind);
        return;
    }
  }

  /** Changes one byte in the middle of a stored part. */
  async #damagePart(pick: number): Promise<boolean> {
    const folder = this.#cluster.recordsFolder;
    const ids = (await readdir(folder).catch(() => [])).sort();
    const contextId = ids[pick % ids.length];
    if (contextId === undefined) return false;
    const parts = path.join(folder, contextId, "parts");
    const names = (await readdir(parts).catch(() => [])).sort();
    const name = names[pick % names.length];
    if (name === undefined) return false;
    const file = path.join(parts, name);
    this.#onDamage(contextId);
    const bytes = await readFile(file).catch(() => undefined);
    if (bytes === undefined || bytes.length === 0) return false;
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0xff;
    // In place: the server keeps what it knows of the file beside it.
    await writeFile(file, bytes, { flag: "r+" }).catch(() => undefined);
    return true;
  }

  /** Overwrites a row of the catalogue. */
  async #damageRow(pick: number): Promise<boolean> {
    const { port } = this.#cluster.servers.shared;
    const ids = (await readdir(this.#cluster.recordsFolder).catch(() => [])).sort();
    const contextId = ids[pick % ids.length];
    if (contextId === undefined) return false;
    const exists = await redisCommand(port, `HEXISTS ${ROWS_KEY} ${contextId}`).catch(() => "");
    if (!exists.startsWith(":1")) return false;
    const reply = await redisCommand(port, `HSET ${ROWS_KEY} ${contextId} "${GARBAGE}"`).catch(() => "");
    return reply.startsWith(":0");
  }
}

function isServer(role: Role): role is "queue" | "shared" | "s3" {
  return role === "queue" || role === "shared" || role === "s3";
}

function count(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1;
}
