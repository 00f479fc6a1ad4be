/**
 * Catalogue records as text, for catalogues outside this process.
 *
 * A format of its own, read by every gateway of a cluster: fields are only ever added, and a
 * record that cannot be read is CACHE_CORRUPT, which the store's manifests heal.
 *
 * @module
 */
import { fromWire, KvaultError, toWire, type WireError } from "@kvault/core";
import { CompressionReportSchema, fromJson, type JsonValue, ProgressSchema, toJson } from "@kvault/rpc";
import { type ContextRecord, type ContextState, firstAttributes } from "./context-catalogue.ts";

type StateText =
  | { readonly type: "creating"; readonly progress: JsonValue }
  | { readonly type: "active" | "deleted"; readonly report: JsonValue }
  | { readonly type: "failed"; readonly error: WireError }
  | { readonly type: "expired" | "deleting" };

export function writeRecord(record: ContextRecord): string {
  return JSON.stringify({ ...record, state: writeState(record.state) });
}

export function readRecord(id: string, text: string): ContextRecord {
  try {
    const { state, ...rest } = JSON.parse(text) as ContextRecord & { readonly state: StateText };
    // An answer of Redis that belongs to another question must not become another context's answer.
    if (rest.id !== id) throw new TypeError(`the row is of context "${rest.id}"`);
    // Written before there were attributes: nothing was changed.
    return { ...firstAttributes(rest), ...rest, state: readState(state) };
  } catch (cause) {
    throw new KvaultError("CACHE_CORRUPT", `Cannot read context "${id}" in the catalogue: it is no record`, {
      details: { contextId: id },
      cause,
    });
  }
}

function writeState(state: ContextState): StateText {
  switch (state.type) {
    case "creating":
      return { type: "creating", progress: toJson(ProgressSchema, state.progress) };
    case "active":
    case "deleted":
      return { type: state.type, report: toJson(CompressionReportSchema, state.report) };
    case "failed": {
      const { stack: _, ...error } = toWire(state.error);
      return { type: "failed", error };
    }
    default:
      return state;
  }
}

function readState(state: StateText): ContextState {
  switch (state.type) {
    case "creating":
      return { type: "creating", progress: fromJson(ProgressSchema, state.progress) };
    case "active":
    case "deleted":
      return { type: state.type, report: fromJson(CompressionReportSchema, state.report) };
    case "failed":
      return { type: "failed", error: fromWire(state.error) };
    default:
      return { type: state.type };
  }
}
