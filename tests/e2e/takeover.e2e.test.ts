import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CompressionReport, Context_State, type Progress, Progress_Phase } from "@kvault/rpc";
import { expect, onTestFinished, test } from "vitest";
import { CACHE_DIR } from "../cache-dir.ts";
import { redisCommand, startRedis } from "../servers/redis-server.ts";
import { connect, createRequest, submit, untilActive } from "./support/api.ts";
import { freePort, type RunningProcess, startService } from "./support/kvault.ts";

/** Fourteen chunks: two that were under way or not kept yet are within the bound. */
const TEXT = "The seventh vault holds the letters of the second keeper, who counted every lamp in the long hall. ".repeat(360);
const KILL_AT = 0.9;
const MAX_EXTRA = 0.15;
/** After so long a worker that is silent counts as gone. */
const WORKER_LEASE_MS = 15_000;

test("a worker killed whole at 90% of a build: another takes over within a lease, at 15% more work at most", async () => {
  const folder = await mkdtemp(join(tmpdir(), "kvault-takeover-"));
  const redis = await startRedis(["maxmemory-policy noeviction"]);
  const started: RunningProcess[] = [];
  onTestFinished(async () => {
    for (const service of started.splice(0).reverse()) await service.stop();
    await redis.remove();
    await rm(folder, { recursive: true, force: true });
  });
  const start = async (name: string, env: Readonly<Record<string, string>>): Promise<RunningProcess> => {
    const address = `127.0.0.1:${await freePort()}`;
    const addressOf = name === "gateway" ? "KVAULT_GATEWAY_ADDRESS" : "KVAULT_WORKER_ADDRESS";
    const service = await startService(name, { ...shared, ...env, [addressOf]: address }, address);
    started.push(service);
    return service;
  };
  const shared = {
    KVAULT_STORE_URL: `file:${join(folder, "store")}`,
    KVAULT_CACHE_DIR: CACHE_DIR,
    KVAULT_QUEUE_URL: `redis://127.0.0.1:${redis.port}/0`,
    KVAULT_REGISTRY_URL: `redis://127.0.0.1:${redis.port}/1`,
  };
  const first = await start("prefill-worker", { KVAULT_CHECKPOINT_TOKENS: "1024" });
  const gateway = await start("gateway", { KVAULT_CATALOGUE_URL: `redis://127.0.0.1:${redis.port}/1` });
  const api = await connect(String(gateway.ready["address"]));
  onTestFinished(() => api.close());

  const name = await submit(api, createRequest(TEXT, { compression: { spec: "none" } }));
  let killedMs = 0;
  let takenMs = 0;
  let reached: Progress | undefined;
  const second = { started: undefined as Promise<RunningProcess> | undefined };
  const context = await untilActive(api, name, ({ state, progress }) => {
    if (state !== Context_State.CREATING || progress === undefined) return;
    if (killedMs === 0 && progress.phase === Progress_Phase.PREFILL && progress.done >= KILL_AT * progress.total) {
      reached = progress;
      for (const pid of first.engines()) process.kill(pid, "SIGKILL");
      first.kill("SIGKILL");
      killedMs = performance.now();
      second.started = start("prefill-worker", { KVAULT_CHECKPOINT_TOKENS: "1024" });
    } else if (killedMs > 0 && takenMs === 0 && progress.restarts > 0) takenMs = performance.now();
  });
  await second.started;
  expect(reached).toBeDefined();
  expect(takenMs - killedMs).toBeLessThan(WORKER_LEASE_MS);
  const { resumedTokens } = context.report as CompressionReport;
  const { done, total } = reached as Progress;
  expect((done - resumedTokens) / total).toBeLessThanOrEqual(MAX_EXTRA);
  // Nothing of it waits for yet another worker.
  expect(await redisCommand(redis.port, "LLEN kvault:builds:active")).toBe(":0\r\n");
});
