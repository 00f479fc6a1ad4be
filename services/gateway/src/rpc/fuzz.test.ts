/** Any message to any public method: a typed error or an answer, in time; nothing left behind. */
import { createRng, isKvaultError } from "@kvault/core";
import { createClient, handledMethods } from "@kvault/rpc";
import { randomMessage } from "@kvault/rpc/testing";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { closeAll, startStack } from "../testing/stack.ts";
import { gatewayServices, type SharedDeps } from "./services.ts";

afterEach(closeAll);

/** Codes that no message may bring about: they are for what is broken, not for what is asked. */
const BROKEN = new Set([
  "INTERNAL",
  "CACHE_CORRUPT",
  "MODEL_CORRUPT",
  "STORE_UNAVAILABLE",
  "STORE_FORBIDDEN",
  "UNREACHABLE",
  "CLOSED",
  "DEADLINE_EXCEEDED",
]);
/** Of 10,000 cases; the rest are the manifest's and the parts'. */
const RUNS = 2_600;
const METHODS = handledMethods(gatewayServices({} as SharedDeps));
/** Sent at the same time. */
const AT_ONCE = 10;
const RUNS_PER_METHOD = Math.ceil(RUNS / METHODS.length / AT_ONCE);

type Call = (request: unknown, options: object) => Promise<unknown> | AsyncIterable<unknown>;

describe("any message", () => {
  test("to any method ends with an answer or a typed error", async () => {
    const stack = await startStack();
    const outcomes = new Map<string, number>();
    for (const method of METHODS) {
      const client = createClient(method.parent, stack.channel) as unknown as Record<string, Call>;
      const call = client[method.localName] as Call;
      const run = async (seed: number): Promise<void> => {
        const rng = createRng(seed);
        const random = (): number => rng.next();
        const options = { deadlineMs: Date.now() + 10_000 };
        const one = (): unknown => randomMessage(method.input, random);
        const many = async function* (): AsyncGenerator<unknown> {
          for (let i = 0; i < 3; i++) yield one();
        };
        let outcome = "OK";
        try {
          if (method.methodKind === "server_streaming") for await (const _ of call(one(), options) as AsyncIterable<unknown>);
          else await call(method.methodKind === "client_streaming" ? many() : one(), options);
        } catch (error) {
          if (!isKvaultError(error)) throw error;
          if (BROKEN.has(error.code)) throw new Error(`${method.name} failed with ${error.code}: ${error.message}`);
          outcome = error.code;
        }
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      };
      const seeds = fc.array(fc.nat(), { minLength: AT_ONCE, maxLength: AT_ONCE });
      await fc.assert(
        fc.asyncProperty(seeds, async (all) => void (await Promise.all(all.map(run)))),
        { numRuns: RUNS_PER_METHOD },
      );
    }
    expect([...outcomes.values()].reduce((sum, count) => sum + count, 0)).toBe(METHODS.length * RUNS_PER_METHOD * AT_ONCE);
    expect(outcomes.get("INVALID_ARGUMENT")).toBeGreaterThan(100);
    expect(outcomes.get("OK")).toBeGreaterThan(100);
    // It still serves.
    expect((await stack.models.listModels({})).models.length).toBeGreaterThan(0);
    // No call is left behind: a stop waits for none.
    const startMs = performance.now();
    await stack.gateway.close({ drainMs: 8_000 });
    expect(performance.now() - startMs).toBeLessThan(4_000);
  }, 60_000);
});
