import { ServiceClass } from "@kvault/rpc";
import { describe, expect, test } from "vitest";
import { Admission } from "./admission.ts";

describe("Admission", () => {
  test("takes as many as it may, refuses the next with a time to come back, and has room again after one ends", () => {
    const admission = new Admission(4);
    const releases = [1, 2, 3, 4].map(() => admission.take(ServiceClass.INTERACTIVE));
    const refused = expect.objectContaining({
      code: "NO_CAPACITY",
      retryable: true,
      details: { streams: 4, limit: 4, retryAfterMs: expect.any(Number) },
    });
    expect(() => admission.take(ServiceClass.INTERACTIVE)).toThrow(refused);
    releases[0]?.();
    releases[0]?.();
    expect(admission.streams).toBe(3);
    admission.take(ServiceClass.INTERACTIVE);
    expect(() => admission.take(ServiceClass.INTERACTIVE)).toThrow(refused);
  });

  test("keeps places that BATCH cannot fill", () => {
    const admission = new Admission(8);
    for (let i = 0; i < 6; i++) admission.take(ServiceClass.BATCH);
    expect(() => admission.take(ServiceClass.BATCH)).toThrow(expect.objectContaining({ code: "NO_CAPACITY" }));
    admission.take(ServiceClass.INTERACTIVE);
    admission.take(ServiceClass.INTERACTIVE);
    expect(() => admission.take(ServiceClass.INTERACTIVE)).toThrow(expect.objectContaining({ code: "NO_CAPACITY" }));
  });
});
