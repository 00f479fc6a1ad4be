import { expect, test } from "vitest";
import { ACTIVE, recordOf } from "../testing/catalogue-conformance.ts";
import { readRecord, writeRecord } from "./record-text.ts";

test("a record comes back as it was written", () => {
  const record = recordOf(1, { state: ACTIVE, displayName: "A book", labels: { shelf: "3" } });
  expect(readRecord(record.id, writeRecord(record))).toEqual(record);
});

test("another context's row is refused: it is never taken for the one that was asked for", () => {
  const [asked, other] = [recordOf(1), recordOf(2)];
  expect(() => readRecord(asked.id, writeRecord(other))).toThrow(
    expect.objectContaining({ code: "CACHE_CORRUPT", details: { contextId: asked.id } }),
  );
});

test("what is no record is CACHE_CORRUPT", () => {
  for (const text of ["", "no row of ours", "{}", "null", "[1]"]) {
    expect(() => readRecord("c1", text)).toThrow(expect.objectContaining({ code: "CACHE_CORRUPT" }));
  }
});
