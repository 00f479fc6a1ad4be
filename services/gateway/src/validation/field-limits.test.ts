/** Limits, walked from the descriptors: each field may be as long as its limit says, and is refused by name when it is one longer. */
import { failureOf } from "@kvault/core/testing";
import { fieldLimits, fieldsWithoutLimit, handledMethods, type ServerCall } from "@kvault/rpc";
import { type LongField, longFields } from "@kvault/rpc/testing";
import { describe, expect, test } from "vitest";
import { gatewayServices, type SharedDeps } from "../rpc/services.ts";
import { FIELD_LIMITS } from "./field-limits.ts";

/** No handler is called here. */
const SERVICES = gatewayServices({} as SharedDeps);

const FIELDS = handledMethods(SERVICES).flatMap((method) =>
  longFields(method).map((field): [string, LongField, (request: object) => Promise<void>] => {
    const checked = fieldLimits(FIELD_LIMITS)((requests) => requests, method);
    const run = async (request: object): Promise<void> => {
      for await (const each of checked(only(request), {} as ServerCall)) expect(each).toBe(request);
    };
    return [`${method.name}: ${field.path} (${field.what})`, field, run];
  }),
);

async function* only(request: object): AsyncGenerator<object> {
  yield request;
}

describe("FIELD_LIMITS", () => {
  test("leave no text, bytes, list or map of a request open, and name nothing that is not there", () => {
    expect(fieldsWithoutLimit(SERVICES, FIELD_LIMITS)).toEqual([]);
    const there = new Set(FIELDS.map(([, { name }]) => name));
    expect(Object.keys(FIELD_LIMITS).filter((name) => !there.has(name))).toEqual([]);
  });

  test("a field without a limit would be noticed", () => {
    const { "kvault.v1.QueryRequest.question": _, ...forgotten } = FIELD_LIMITS;
    expect(fieldsWithoutLimit(SERVICES, forgotten)).toEqual(["kvault.v1.QueryRequest.question"]);
  });

  test.each(FIELDS)("%s", async (_, { name, path, limitOf, message }, run) => {
    const limit = limitOf(FIELD_LIMITS[name] ?? {});
    if (limit === undefined) throw new Error(`no limit for ${name}`);
    await run(message(limit));
    expect(await failureOf(run(message(limit + 1)))).toMatchObject({ code: "INVALID_ARGUMENT", details: { field: path } });
  });
});
