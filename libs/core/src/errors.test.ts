import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  ERROR_CODES,
  fromWire,
  invalidArgument,
  isKvaultError,
  KvaultError,
  toKvaultError,
  toWire,
  type WireError,
} from "./errors.ts";

const details = fc.dictionary(fc.string(), fc.oneof(fc.string(), fc.integer(), fc.boolean()));

describe("KvaultError", () => {
  test("defaults retryable by code and lets the caller decide", () => {
    expect(new KvaultError("STORE_UNAVAILABLE", "m").retryable).toBe(true);
    expect(new KvaultError("CACHE_CORRUPT", "m").retryable).toBe(false);
    expect(new KvaultError("CACHE_CORRUPT", "m", { retryable: true }).retryable).toBe(true);
  });

  test("is recognised as an abort when it is CANCELLED", () => {
    expect(new KvaultError("CANCELLED", "m").name).toBe("AbortError");
    expect(new KvaultError("DEADLINE_EXCEEDED", "m").name).toBe("KvaultError");
  });
});

describe("toWire() and fromWire()", () => {
  test("carry code, message, details, retryable and stack through JSON for every code", () => {
    fc.assert(
      fc.property(fc.constantFrom(...ERROR_CODES), fc.string(), details, fc.boolean(), (code, message, found, retryable) => {
        const error = new KvaultError(code, message, { details: found, retryable, cause: new Error("inside") });
        const back = fromWire(JSON.parse(JSON.stringify(toWire(error))) as WireError);
        expect(back).toBeInstanceOf(KvaultError);
        expect({ ...toWire(back) }).toEqual({ ...toWire(error) });
        expect(back.name).toBe(error.name);
        expect(back.cause).toBeUndefined();
      }),
    );
  });

  test("turn anything thrown into INTERNAL with its own text", () => {
    expect(toWire(new TypeError("bad"))).toMatchObject({ code: "INTERNAL", message: "bad", retryable: false });
    expect(toWire("just text")).toMatchObject({ code: "INTERNAL", message: "just text" });
    expect(toWire(undefined)).toMatchObject({ code: "INTERNAL", message: "undefined" });
  });

  test("read a code of a newer version as INTERNAL", () => {
    const wire = { code: "NEW_CODE", message: "m", details: { a: 1 }, retryable: true } as unknown as WireError;
    expect(fromWire(wire)).toMatchObject({ code: "INTERNAL", message: "m", details: { a: 1 }, retryable: true });
  });
});

describe("toKvaultError()", () => {
  test("returns our own errors as they are", () => {
    const error = new KvaultError("DRAINING", "m");
    expect(toKvaultError(error)).toBe(error);
  });

  test("tells time-outs, aborts and a full disk apart", () => {
    const named = (name: string): Error => Object.assign(new Error("x"), { name });
    expect(toKvaultError(named("TimeoutError")).code).toBe("DEADLINE_EXCEEDED");
    expect(toKvaultError(named("AbortError")).code).toBe("CANCELLED");
    for (const errno of ["ENOSPC", "EDQUOT"]) {
      const full = toKvaultError(Object.assign(new Error("no space"), { code: errno }));
      expect(full).toMatchObject({ code: "STORE_FULL", details: { errno } });
    }
    expect(toKvaultError(Object.assign(new Error("x"), { code: "EIO" })).code).toBe("INTERNAL");
  });

  test("keeps the original as cause", () => {
    const cause = new Error("inside");
    expect(toKvaultError(cause).cause).toBe(cause);
  });
});

describe("isKvaultError()", () => {
  test("matches any code when none is named, else only those named", () => {
    const error: unknown = new KvaultError("STORE_FULL", "m");
    expect(isKvaultError(error)).toBe(true);
    expect(isKvaultError(error, "STORE_EXISTS", "STORE_FULL")).toBe(true);
    expect(isKvaultError(error, "STORE_EXISTS")).toBe(false);
    expect(isKvaultError(Object.assign(new Error("m"), { code: "STORE_FULL" }))).toBe(false);
  });
});

describe("invalidArgument()", () => {
  test("names the field beside other details", () => {
    expect(invalidArgument("ttl", "m", { found: -1 })).toMatchObject({
      code: "INVALID_ARGUMENT",
      details: { field: "ttl", found: -1 },
    });
  });
});
