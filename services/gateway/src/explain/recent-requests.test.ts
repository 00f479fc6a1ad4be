import { expect, test } from "vitest";
import { RecentRequests } from "./recent-requests.ts";

const call = (tenant: string, requestId: string) => ({ principal: { tenant }, requestId });
const started = (requestId: string) => ({ requestId, method: "m", traceId: "", startTimeMs: Date.now() });

test("a tenant finds its own requests and nobody else's, the same id included", () => {
  const recent = new RecentRequests();
  recent.begin("acme", started("r1"));
  recent.begin("globex", started("r1"));
  recent.note(call("acme", "r1"), { contextId: "c-acme" });
  expect(recent.get("acme", "r1")?.contextId).toBe("c-acme");
  expect(recent.get("globex", "r1")?.contextId).toBe("");
  expect(recent.get("initech", "r1")).toBeUndefined();
});

test("the oldest requests go when there are too many", () => {
  const recent = new RecentRequests(2);
  for (const id of ["a", "b", "a", "c"]) recent.begin("t", started(id));
  expect(["a", "b", "c"].map((id) => recent.get("t", id) !== undefined)).toEqual([true, false, true]);
});

test("attempts are bounded, each ends once, and those of a request that is gone are nowhere", () => {
  const recent = new RecentRequests();
  recent.begin("t", started("r"));
  const end = recent.attempt(call("t", "r"), { worker: "w", decision: "load", sentTokens: 0 });
  end("UNREACHABLE");
  end("OK");
  for (let i = 0; i < 200; i++) recent.attempt(call("t", "r"), { worker: "w", decision: "retry", sentTokens: 0 });
  expect(recent.get("t", "r")?.attempts).toHaveLength(64);
  expect(recent.get("t", "r")?.attempts[0]).toMatchObject({ worker: "w", decision: "load", outcome: "UNREACHABLE" });
  expect(() => recent.attempt(call("t", "gone"), { worker: "w", decision: "load", sentTokens: 0 })("OK")).not.toThrow();
});
