import { KvaultError } from "@kvault/core";
import { expect, test } from "vitest";
import { decodeFailure, encodeFailure } from "./failed-reason.ts";

test("decodeFailure() gives back the error that encodeFailure() took, without its stack", () => {
  const error = new KvaultError("TOKEN_LIMIT", "Cannot build: too long", { details: { tokens: 9 }, retryable: true });
  const again = decodeFailure(encodeFailure(error));
  expect({ ...again, message: again.message }).toEqual({ ...error, message: error.message });
  expect(encodeFailure(error)).not.toContain("failed-reason.test");
});

test.each([
  ["job stalled more than allowable limit", "ENGINE_DIED"],
  ["something else", "INTERNAL"],
  ["null", "INTERNAL"],
  ["{}", "INTERNAL"],
  ['{"code":"NO_SUCH_CODE","message":"x","details":{},"retryable":false}', "INTERNAL"],
])("decodeFailure(%s) is %s", (reason, code) => {
  expect(decodeFailure(reason).code).toBe(code);
});
