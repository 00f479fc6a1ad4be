import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { toyAnswerPrefix } from "@kvault/runtime/testing";
import { afterEach, expect, test } from "vitest";
import type { ServicePlan } from "../chaos/service-main.ts";
import { type Api, connect, submit, untilActive } from "../e2e/support/api.ts";
import { startRedis } from "../servers/redis-server.ts";
import { type Asked, Crowd } from "./crowd.ts";
import { HorizontalAutoscaler } from "./horizontal-autoscaler.ts";
import { Pool } from "./pool.ts";
import { queryPrometheus, startPrometheus } from "./prometheus.ts";
import { readScaledObject, type ScaledObject } from "./scaled-object.ts";

/**
 * Here everything is so many times as fast as in the manifests: seconds of their windows, periods,
 * drains and scrapes are divided by it, seconds of backlog multiplied. Other thresholds are as they are.
 */
const PACE = 30;
/** Of the autoscaler (--horizontal-pod-autoscaler-sync-period) and of scrapes (PodMonitor), before PACE. */
const SYNC_SECONDS = 15;
const DRAIN_SECONDS = 120;
const PLACES = 8;
const SPEC = "none";
/** Slow toys: 30 ms for 64 tokens read, 10 ms for one written; a token is a byte. */
const MODEL = "toy-slow";

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

test("a burst scales the pools up and down again, and no stream is lost", { timeout: 150_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "kvault-autoscaling-"));
  closing.push(() => rm(folder, { recursive: true, force: true }));
  const redis = await startRedis(["maxmemory-policy noeviction"]);
  closing.push(() => redis.remove());
  const objects = { prefill: await readScaledObject("prefill"), decode: await readScaledObject("decode") };

  // Each pod has an address of its own; those of two runs at a time differ.
  const network = `127.${100 + Math.floor(Math.random() * 100)}.${Math.floor(Math.random() * 256)}`;
  const plansOf = (role: ServicePlan["role"], first: number, count: number): ServicePlan[] =>
    Array.from({ length: count }, (_, i) => {
      const address = `${network}.${first + i}:7719`;
      return {
        ...{ name: `${role} ${i}`, role, address, advertiseAddress: address, engine: "toy", cacheDir: folder },
        storeUrl: `file:${folder}/store`,
        queueUrl: role === "decode" ? "local:" : `redis://127.0.0.1:${redis.port}/0`,
        sharedUrl: `redis://127.0.0.1:${redis.port}/1`,
        metricsAddress: `${network}.${first + i}:9464`,
        drainMs: (DRAIN_SECONDS * 1_000) / PACE,
        maxQueries: PLACES,
      };
    });
  const plans = {
    gateway: plansOf("gateway", 1, 2),
    prefill: plansOf("prefill", 11, objects.prefill.maxReplicas),
    decode: plansOf("decode", 31, objects.decode.maxReplicas),
  };
  const pools = {
    gateway: new Pool(plans.gateway, folder),
    prefill: new Pool(plans.prefill, folder),
    decode: new Pool(plans.decode, folder),
  };
  const all = Object.values(pools);
  closing.push(() => Promise.all(all.map((pool) => pool.stop())));
  await pools.gateway.scaleTo(2);
  for (const role of ["prefill", "decode"] as const) await pools[role].scaleTo(objects[role].minReplicas);
  const prometheus = await startPrometheus({
    targets: Object.values(plans).flatMap((each) => each.map(({ metricsAddress = "" }) => metricsAddress)),
    intervalMs: (SYNC_SECONDS * 1_000) / PACE,
    configPath: join(folder, "prometheus.yaml"),
  });
  closing.push(() => prometheus.remove());
  await Promise.all(all.map((pool) => pool.ready()));
  const apis = await Promise.all(plans.gateway.map(({ address }) => connect(address)));
  for (const api of apis) closing.push(() => api.close());

  const create = async (number: number, chars: number): Promise<Asked> => {
    const text = `Vault ${number} opens with ${number * 7919}. `.repeat(200).slice(0, chars);
    const api = apis[number % apis.length] as Api;
    const content = { content: { case: "text" as const, value: text } };
    const name = await submit(api, { model: MODEL, content, compression: { spec: SPEC } });
    await untilActive(api, name);
    return { name, prefix: await toyAnswerPrefix(text, SPEC) };
  };

  // Quiet: the pools are as small as they get, three callers ask for long answers.
  const crowd = new Crowd(apis);
  const contexts = await Promise.all([0, 1, 2, 3].map((number) => create(number, 600)));
  const over = new AbortController();
  const quiet = crowd.ask(3, contexts, 450, over.signal);
  const history: string[] = [];
  const scaling = scale(objects, pools, prometheus.port, history, over.signal);
  closing.push(() => over.abort());
  const until = (what: string, isSo: () => boolean, timeout: number): Promise<void> =>
    expect
      .poll(isSo, { timeout, interval: 50, message: what })
      .toBe(true)
      .catch((error: Error) => {
        throw new Error(`${error.message}\n${[...history, ...crowd.failures].join("\n")}`);
      });
  await until("signals are there", () => history.length > 0, 30_000);

  // Burst: texts to read and more callers than two workers have places for.
  const burst = new AbortController();
  closing.push(() => burst.abort());
  const rush = crowd.ask(14, contexts, 80, burst.signal);
  const created = await Promise.all(Array.from({ length: 8 }, (_, i) => create(10 + i, 3_000)));
  await until("decode is scaled up", () => pools.decode.peak > objects.decode.minReplicas, 30_000);
  await Promise.all(all.map((pool) => pool.ready()));
  burst.abort();
  await rush;

  // Quiet again.
  const { prefill, decode } = pools;
  const isSmall = (): boolean =>
    prefill.replicas === objects.prefill.minReplicas && decode.replicas === objects.decode.minReplicas;
  await until("both pools are small again", isSmall, 60_000);
  over.abort();
  await Promise.all([quiet, scaling]);
  for (const context of created) await crowd.askOnce(context, 20);

  expect(crowd.failures).toEqual([]);
  expect(crowd.answers).toBeGreaterThan(created.length);
  expect(prefill.peak).toBeGreaterThan(objects.prefill.minReplicas + 1);
  expect(all.map(({ selfExits }) => selfExits)).toEqual([0, 0, 0]);
  const stops = await Promise.all([prefill.stop(), decode.stop()]);
  expect(stops.flat()).not.toContain(false);
});

/** The autoscaler: looks, decides and scales both pools, once in a while until `signal`. */
async function scale(
  objects: Readonly<Record<"prefill" | "decode", ScaledObject>>,
  pools: Readonly<Record<"prefill" | "decode", Pool>>,
  port: number,
  history: string[],
  signal: AbortSignal,
): Promise<void> {
  const controllers = (["prefill", "decode"] as const).map((role) => {
    const object = objects[role];
    return { role, object, pool: pools[role], autoscaler: new HorizontalAutoscaler(object) };
  });
  const startMs = performance.now();
  for (; !signal.aborted; await sleep((SYNC_SECONDS * 1_000) / PACE)) {
    const seconds = ((performance.now() - startMs) / 1_000) * PACE;
    const told: string[] = [];
    for (const { role, object, pool, autoscaler } of controllers) {
      const totals = await Promise.all(
        object.triggers.map(async ({ query }) => (await queryPrometheus(port, query)) * (query.includes("_seconds") ? PACE : 1)),
      );
      const decided = autoscaler.decide(seconds, pool.replicas, totals);
      told.push(`${role} ${pool.replicas} -> ${decided} (${totals.map((total) => total.toFixed(2)).join(", ")})`);
      await pool.scaleTo(decided);
    }
    history.push(`${seconds.toFixed(0)} s: ${told.join("; ")}`);
  }
}
