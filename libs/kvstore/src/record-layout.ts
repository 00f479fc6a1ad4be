/**
 * Where a record lies in a store.
 *
 *   v1/contexts/<contextId>/manifest.json
 *   v1/contexts/<contextId>/parts/<sha256>.safetensors
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import { isContextId } from "./identity.ts";

/** Folder of all records. */
export const RECORDS_PREFIX = "v1/contexts/";

const MANIFEST_NAME = "manifest.json";

/** Key of the manifest that makes `contextId` exist. */
export function manifestKey(contextId: string): string {
  return `${folderOf(contextId)}${MANIFEST_NAME}`;
}

/** Prefix of a context's parts. */
export function partsPrefix(contextId: string): string {
  return `${folderOf(contextId)}parts/`;
}

/** Key of one part. */
export function partKey(contextId: string, sha256: string): string {
  return `${partsPrefix(contextId)}${sha256}.safetensors`;
}

export interface RecordKey {
  readonly contextId: string;
  /** SHA-256 of the part; undefined for the manifest. */
  readonly part: string | undefined;
}

const RECORD_KEY = /^v1\/contexts\/(?<contextId>c[0-9a-f]{32})\/(?:manifest\.json|parts\/(?<part>[0-9a-f]{64})\.safetensors)$/;

/** What `key` is of; undefined for keys that are no record's. */
export function parseRecordKey(key: string): RecordKey | undefined {
  const groups = RECORD_KEY.exec(key)?.groups;
  return groups === undefined ? undefined : { contextId: groups["contextId"] as string, part: groups["part"] };
}

/** Folder of all checkpoints of builds. */
export const CHECKPOINTS_PREFIX = "v1/checkpoints/";

/** Prefix of what a build of `contextId` keeps for its successor. */
export function checkpointsPrefix(contextId: string): string {
  return `${CHECKPOINTS_PREFIX}${folderOf(contextId).slice(RECORDS_PREFIX.length)}`;
}

function folderOf(contextId: string): string {
  if (!isContextId(contextId)) {
    const found = String(contextId).slice(0, 80);
    throw invalidArgument("contextId", `Cannot name record: "${found}" is no context id`, { found });
  }
  return `${RECORDS_PREFIX}${contextId}/`;
}
