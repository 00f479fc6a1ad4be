import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isKvaultError } from "@kvault/core";
import { type Answer, createClient, openChannel, Workers } from "@kvault/rpc";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CACHE_DIR } from "../cache-dir.ts";
import { type Api, build, connect, createRequest } from "./support/api.ts";
import { type Environment, freePort, type RunningProcess, startService } from "./support/kvault.ts";
import { LETTER } from "./support/texts.ts";

const QUESTION = "Tell everything the letter says, in the order in which it says it.";
const TOKENS = 16;
/** Of the streams that run while services restart: they are over within the time a stop may take. */
const FEW_TOKENS = 8;

/** A service that can be stopped and started again on its address. */
interface Service {
  readonly address: string;
  process: RunningProcess;
  start(): Promise<void>;
}

async function service(name: string, envOf: (address: string) => Environment): Promise<Service> {
  const address = `127.0.0.1:${await freePort()}`;
  const launch = (): Promise<RunningProcess> => startService(name, envOf(address), address);
  const made: Service = {
    address,
    process: await launch(),
    start: async () => {
      made.process = await launch();
    },
  };
  return made;
}

interface Streamed {
  readonly text: string;
  readonly tokenIds: readonly number[];
  readonly answer: Answer;
}

async function stream(
  api: Api,
  context: string,
  maxTokens: number,
  onTokens: (count: number) => Promise<void> | void = () => undefined,
): Promise<Streamed> {
  let text = "";
  const tokenIds: number[] = [];
  const request = { source: { case: "context" as const, value: context }, question: QUESTION, limits: { maxTokens } };
  for await (const { event } of api.inference.query(request)) {
    if (event.case === "delta") {
      text += event.value.text;
      tokenIds.push(...event.value.tokenIds);
      await onTokens(tokenIds.length);
    }
    if (event.case === "answer") return { text, tokenIds, answer: event.value };
  }
  throw new Error("the stream ended without an answer");
}

describe("answers outlive the processes that make them", () => {
  let folder = "";
  let prefill: Service;
  let decoders: Service[];
  let gateways: Service[];
  let apis: Api[];
  let context = "";
  let whole: Streamed;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "kvault-moves-"));
    const shared = { KVAULT_STORE_URL: `file:${join(folder, "store")}`, KVAULT_CACHE_DIR: CACHE_DIR, KVAULT_LOG_LEVEL: "warn" };
    const worker = (address: string): Environment => ({ ...shared, KVAULT_WORKER_ADDRESS: address, KVAULT_THREADS: "1" });
    prefill = await service("prefill-worker", worker);
    // A short drain: what is streamed at a stop has to move. And f32: with int8 activations two tokens
    // that are almost equally likely may change places with the number of rows of a run.
    const decoder = (address: string): Environment => ({
      ...worker(address),
      KVAULT_DRAIN_MS: "300",
      KVAULT_ACTIVATIONS: "f32",
    });
    decoders = [await service("decode-worker", decoder), await service("decode-worker", decoder)];
    const gateway = (address: string): Environment => ({
      ...shared,
      KVAULT_GATEWAY_ADDRESS: address,
      KVAULT_PREFILL_WORKERS: prefill.address,
      KVAULT_DECODE_WORKERS: decoders.map((each) => each.address).join(),
      KVAULT_DRAIN_MS: "60000",
    });
    gateways = [await service("gateway", gateway)];
    const first = await connect(gateways[0]?.address ?? "");
    context = (await build(first, createRequest(LETTER))).name;
    // Started later: it finds the context in the store.
    gateways.push(await service("gateway", gateway));
    apis = [first, await connect(gateways[1]?.address ?? "")];
    whole = await stream(first, context, TOKENS);
  });

  afterAll(async () => {
    for (const api of apis) api.close();
    for (const { process } of [...gateways, ...decoders, prefill]) await process.stop();
    await rm(folder, { recursive: true, force: true });
  });

  /** The decode worker that answers right now. */
  async function busy(): Promise<Service> {
    for (const each of decoders) {
      const channel = openChannel(each.address);
      const { runningQueries } = await createClient(Workers, channel).status({});
      channel.close();
      if (runningQueries > 0) return each;
    }
    throw new Error("no worker answers anything");
  }

  test("a worker killed after ten tokens: the answer goes on elsewhere, token for token the same", async () => {
    let killed: Service | undefined;
    const [api] = apis as [Api];
    const moved = await stream(api, context, TOKENS, async (count) => {
      if (count < 10 || killed !== undefined) return;
      killed = await busy();
      killed.process.kill("SIGKILL");
    });
    expect(killed).toBeDefined();
    expect(moved.tokenIds).toEqual(whole.tokenIds);
    expect(moved.text).toBe(whole.text);
    expect(moved.answer.text).toBe(whole.text);
    expect(moved.answer.moves).toBe(1);
    expect(moved.answer.usage).toEqual(whole.answer.usage);
    expect(moved.answer.finishReason).toBe(whole.answer.finishReason);
    await killed?.start();
  });

  test("every service restarted in turn, under load: no stream is lost or changed", async () => {
    let over = false;
    let streams = 0;
    let moves = 0;
    /** As a client with both addresses: asks elsewhere while nothing was answered. */
    const askSomewhere = async (first: number): Promise<Streamed> => {
      for (let attempt = first; ; attempt++) {
        let begun = false;
        try {
          return await stream(apis[attempt % apis.length] as Api, context, FEW_TOKENS, () => {
            begun = true;
          });
        } catch (error) {
          const elsewhere = isKvaultError(error, "UNREACHABLE", "DRAINING", "CLOSED", "NO_CAPACITY");
          if (begun || !elsewhere || attempt > first + 20) throw error;
          await sleep(100);
        }
      }
    };
    const load = [0, 1].map(async (first) => {
      while (!over) {
        const { text, tokenIds, answer } = await askSomewhere(first);
        expect(tokenIds).toEqual(whole.tokenIds.slice(0, FEW_TOKENS));
        expect(text).toBe(answer.text);
        streams++;
        moves += answer.moves;
      }
    });
    const failed = Promise.all(load);
    failed.catch(() => undefined);
    for (const each of [...decoders, prefill, ...gateways]) {
      await sleep(1_000);
      expect(await each.process.stop()).toBe(0);
      await each.start();
    }
    await sleep(1_000);
    over = true;
    await failed;
    expect(streams).toBeGreaterThan(3);
    expect(moves).toBeGreaterThan(0);
  });
});
