import { describe, expect, test } from "vitest";
import { abortError, orAborted, throwIfAborted } from "./abort.ts";
import { KvaultError } from "./errors.ts";

function aborted(reason?: unknown): AbortSignal {
  const controller = new AbortController();
  controller.abort(reason);
  return controller.signal;
}

describe("abortError()", () => {
  test("is CANCELLED for a plain abort and for a reason of any other kind", () => {
    for (const reason of [undefined, "stop", new TypeError("x")]) expect(abortError(aborted(reason)).code).toBe("CANCELLED");
  });

  test("is DEADLINE_EXCEEDED when time ran out", () => {
    expect(abortError(aborted(new DOMException("late", "TimeoutError"))).code).toBe("DEADLINE_EXCEEDED");
  });

  test("is the reason itself when that is ours", () => {
    for (const code of ["DRAINING", "INTERNAL"] as const) {
      const reason = new KvaultError(code, "m");
      expect(abortError(aborted(reason))).toBe(reason);
    }
  });
});

describe("throwIfAborted()", () => {
  test("throws for an aborted signal only", () => {
    expect(() => throwIfAborted(aborted())).toThrow(KvaultError);
    expect(throwIfAborted(new AbortController().signal)).toBeUndefined();
    expect(throwIfAborted(undefined)).toBeUndefined();
  });
});

describe("orAborted()", () => {
  const never = new Promise<never>(() => undefined);

  test("gives the promise's own outcome when nothing aborts", async () => {
    const { signal } = new AbortController();
    await expect(orAborted(Promise.resolve(1), signal)).resolves.toBe(1);
    await expect(orAborted(Promise.reject(new RangeError("x")), signal)).rejects.toThrow(RangeError);
    await expect(orAborted(Promise.resolve(2), undefined)).resolves.toBe(2);
  });

  test("rejects as soon as the signal aborts", async () => {
    const controller = new AbortController();
    const waiting = orAborted(never, controller.signal);
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: "CANCELLED" });
  });

  test("rejects at once for a signal aborted before, and leaves no rejection unhandled", async () => {
    const late = Promise.reject(new Error("nobody waits for this"));
    await expect(orAborted(late, aborted())).rejects.toMatchObject({ code: "CANCELLED" });
  });

  test("leaves no listener on the signal", async () => {
    const controller = new AbortController();
    let listeners = 0;
    const { signal } = controller;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--;
      remove(...args);
    };
    await orAborted(Promise.resolve(), signal);
    await Promise.resolve(); // the listener goes one turn after the outcome
    expect(listeners).toBe(0);
  });
});
