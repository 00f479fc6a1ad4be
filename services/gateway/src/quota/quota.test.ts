import { setTimeout as sleep } from "node:timers/promises";
import { isKvaultError, type KvaultError } from "@kvault/core";
import { collect, failureOf } from "@kvault/core/testing";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { RELOADED_MS, startSecureStack } from "../testing/secure-stack.ts";
import { closeAll, contextOf, MODEL, request } from "../testing/stack.ts";
import { TenantRates } from "./tenant-rates.ts";
import { TokenBucket } from "./token-bucket.ts";

afterEach(closeAll);

function failure(work: () => void): KvaultError {
  try {
    work();
  } catch (error) {
    if (isKvaultError(error)) return error;
    throw error;
  }
  throw new Error("did not fail");
}

describe("TokenBucket", () => {
  test("never gives more than its rate and one burst, whenever it is asked", () => {
    const gaps = fc.array(fc.integer({ min: 0, max: 700 }), { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), gaps, (perSecond, waits) => {
        let nowMs = 0;
        let given = 0;
        const bucket = new TokenBucket(perSecond, () => nowMs);
        for (const wait of waits) {
          nowMs += wait;
          if (bucket.take() === 0) given++;
        }
        expect(given).toBeLessThanOrEqual(perSecond + (nowMs / 1000) * perSecond + 1e-6);
      }),
      { numRuns: 200 },
    );
  });

  test("the wait it names is enough and not too long", () => {
    let nowMs = 0;
    const bucket = new TokenBucket(4, () => nowMs);
    for (let i = 0; i < 4; i++) expect(bucket.take()).toBe(0);
    const wait = bucket.take();
    expect(wait).toBe(250);
    nowMs += wait - 1;
    expect(bucket.take()).toBeGreaterThan(0);
    nowMs += 1;
    expect(bucket.take()).toBe(0);
  });

  test("a debt is waited off", () => {
    let nowMs = 0;
    const bucket = new TokenBucket(10, () => nowMs);
    bucket.charge(40);
    expect(bucket.waitMs()).toBe(3_100);
    nowMs += 3_100;
    expect(bucket.waitMs()).toBe(0);
  });

  test("a clock that goes back gives nothing", () => {
    let nowMs = 10_000;
    const bucket = new TokenBucket(1, () => nowMs);
    bucket.take();
    nowMs = 0;
    expect(bucket.take()).toBeGreaterThan(0);
  });
});

describe("TenantRates", () => {
  test("one tenant's use is no other's", () => {
    const rates = new TenantRates({ quotasOf: () => ({ requestsPerSecond: 1 }), nowMs: () => 0 });
    rates.admit("a");
    expect(failure(() => rates.admit("a"))).toMatchObject({
      code: "QUOTA_EXCEEDED",
      retryable: true,
      details: { quota: "requestsPerSecond", subject: "tenant:a", retryAfterMs: 1_000 },
    });
    rates.admit("b");
  });

  test("a quota that is changed or lifted counts from then on", () => {
    let requestsPerSecond: number | undefined = 1;
    const rates = new TenantRates({ quotasOf: () => ({ requestsPerSecond }), nowMs: () => 0 });
    rates.admit("a");
    failure(() => rates.admit("a"));
    requestsPerSecond = undefined;
    for (let i = 0; i < 100; i++) rates.admit("a");
  });

  test("no quota is no limit", () => {
    const rates = new TenantRates({ quotasOf: () => ({}), nowMs: () => 0 });
    for (let i = 0; i < 10_000; i++) rates.admit("a");
    rates.charge("a", 1e9);
    rates.admit("a");
  });
});

describe("a gateway with quotas", () => {
  test("refuses a context too many, forgets none, and lets one come for one that goes", async () => {
    const stack = await startSecureStack();
    const { token } = await stack.issue("acme");
    await stack.setQuotas("acme", { contexts: 2 });
    await sleep(RELOADED_MS);
    const { contexts } = stack.as(token);
    const outcomes = await Promise.allSettled(["a", "b", "c", "d"].map((text) => contexts.createContext(request(text))));
    const made = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
    expect(made).toHaveLength(2);
    for (const outcome of outcomes) {
      if (outcome.status === "rejected")
        expect(outcome.reason).toMatchObject({ code: "QUOTA_EXCEEDED", details: { quota: "contexts" } });
    }
    const [first] = made;
    if (first === undefined) throw new Error("nothing made");
    await contexts.deleteContext({ name: contextOf(first) });
    await contexts.createContext(request("e"));
    expect((await failureOf(contexts.createContext(request("f")))).retryable).toBe(false);
  });

  test("refuses one request too many with the time to wait", async () => {
    const stack = await startSecureStack();
    const { token } = await stack.issue("acme");
    await stack.setQuotas("acme", { requestsPerSecond: 3 });
    await sleep(RELOADED_MS);
    const { models } = stack.as(token);
    const outcomes = await Promise.allSettled(Array.from({ length: 12 }, () => models.listModels({})));
    const refused = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason as KvaultError] : []));
    expect(refused.length).toBeGreaterThanOrEqual(8);
    for (const error of refused) expect(error).toMatchObject({ code: "QUOTA_EXCEEDED", retryable: true });
    expect(Number(refused[0]?.details["retryAfterMs"])).toBeGreaterThan(0);
  });

  test("counts the tokens of answers and of inline texts", async () => {
    const stack = await startSecureStack({
      decode: [
        {
          async *execute() {
            yield { event: { case: "delta", value: { text: "a", tokenIds: [1, 2] } } };
            const usage = { contextTokens: 300, questionTokens: 8, newTokens: 2 };
            yield { event: { case: "answer", value: { text: "a", usage, cache: { reason: "INLINE" } } } };
          },
        },
      ],
    });
    const { token } = await stack.issue("acme");
    await stack.setQuotas("acme", { tokensPerSecond: 10 });
    await sleep(RELOADED_MS);
    const { inference } = stack.as(token);
    const inline = { model: MODEL, content: { content: { case: "text", value: "Text." } as const } };
    const ask = (): Promise<unknown> => collect(inference.query({ source: { case: "inline", value: inline }, question: "?" }));
    await ask();
    const error = await failureOf(ask());
    expect(error).toMatchObject({ code: "QUOTA_EXCEEDED", retryable: true, details: { quota: "tokensPerSecond" } });
    expect(Number(error.details["retryAfterMs"])).toBeGreaterThan(25_000);
  });
});
