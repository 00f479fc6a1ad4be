/**
 * Where a record lies in a store.
 *
 *   v1/contexts/<contextId>/manifest.json
 *   v1/contexts/<contextId>/parts/<sha256>.safetensors
 *   v1/contexts/<contextId>/attributes/<createTimeMs>-<revision>.json     attributes.ts
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

/** Prefix of everything that changed of a context since it was published. */
export function attributesPrefix(contextId: string): string {
  return `${folderOf(contextId)}attributes/`;
}

interface AttributesName {
  readonly createTimeMs: number;
  readonly revision: number;
}

/** Key of one revision of a context's attributes; keys are in order of time, then revision. */
export function attributesKey(contextId: string, { createTimeMs, revision }: AttributesName): string {
  const [time, count] = [`${createTimeMs}`.padStart(TIME_DIGITS, "0"), `${revision}`.padStart(REVISION_DIGITS, "0")];
  if (time.length > TIME_DIGITS || count.length > REVISION_DIGITS) throw new RangeError("Cannot name attributes: too large");
  return `${attributesPrefix(contextId)}${time}-${count}.json`;
}

const TIME_DIGITS = 16;
const REVISION_DIGITS = 12;

export interface RecordKey {
  readonly contextId: string;
  /** SHA-256 of the part. */
  readonly part?: string;
  /** Which attributes. */
  readonly attributes?: AttributesName;
  /** True for the manifest. */
  readonly isManifest: boolean;
}

const RECORD_KEY =
  /^v1\/contexts\/(?<contextId>c[0-9a-f]{32})\/(?:(?<manifest>manifest\.json)|parts\/(?<part>[0-9a-f]{64})\.safetensors|attributes\/(?<time>\d{16})-(?<revision>\d{12})\.json)$/;

/** What `key` is of; undefined for keys that are no record's. */
export function parseRecordKey(key: string): RecordKey | undefined {
  const groups = RECORD_KEY.exec(key)?.groups;
  if (groups === undefined) return undefined;
  const { contextId = "", manifest, part, time, revision } = groups;
  return {
    contextId,
    isManifest: manifest !== undefined,
    ...(part === undefined ? {} : { part }),
    ...(time === undefined ? {} : { attributes: { createTimeMs: Number(time), revision: Number(revision) } }),
  };
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
