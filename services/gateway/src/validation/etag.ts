/**
 * Whether a context is still as somebody has read it.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { ContextRecord } from "../catalogue/context-catalogue.ts";
import { contextName, etagOf } from "../catalogue/context-message.ts";

/** CONTEXT_CHANGED when `etag` is given and not the record's. */
export function checkEtag(record: ContextRecord, etag: string): void {
  const found = etagOf(record);
  if (etag === "" || etag === found) return;
  const context = contextName(record.id);
  throw new KvaultError("CONTEXT_CHANGED", `Cannot change context "${context}": its etag is "${found}" by now`, {
    details: { context, etag: found },
  });
}
