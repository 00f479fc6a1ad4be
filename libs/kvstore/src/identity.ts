/**
 * A context's identity: everything that could change an answer, and the digest of it.
 *
 * The same request gives the same digest on every machine, so it is built once; a record
 * made from anything else has another digest and is refused by the name of the field.
 *
 * @module
 */
import { createHmac } from "node:crypto";
import { digestFields } from "@kvault/core";

/** Version of what a record's parts hold and how; part of every digest. */
export const RECORD_FORMAT_VERSION = 1;

export interface ContextIdentity {
  /** Hex SHA-256 of the weight file. */
  readonly weightsSha256: string;
  /** Hex SHA-256 over vocabulary, merges and special tokens. */
  readonly tokenizerSha256: string;
  /** Hex SHA-256 of the chat template. */
  readonly templateSha256: string;
  /** Canonical text of the rotation, e.g. `rope(theta=1000000,dim=64)`. */
  readonly rope: string;
  /** See {@link contentSha256}; keyed by the tenant's salt where there is one. */
  readonly contentSha256: string;
  /** Full compression spec: every default and the keep ratio filled in, codec included. */
  readonly spec: string;
  /** Measurements of the model that the spec rests on, `name=digest` by name, comma-separated; absent where there are none. */
  readonly profiles?: string | undefined;
  /** {@link RECORD_FORMAT_VERSION} of the writer. */
  readonly formatVersion: number;
  /** Keeps tenants' contexts apart: the salt's public tag, see {@link saltedContent}; empty without a salt. */
  readonly tenantSalt: string;
}

/**
 * The two fields of an identity that depend on a tenant's secret salt. Both are keyed digests, so
 * that neither a record nor an id lets anyone without the salt try out what a text might be, and
 * one text of two tenants has nothing in common. An empty salt leaves the digest as it is.
 */
export function saltedContent(contentSha256: string, salt: string): Pick<ContextIdentity, "contentSha256" | "tenantSalt"> {
  if (salt === "") return { contentSha256, tenantSalt: "" };
  const keyed = (what: string): string => createHmac("sha256", salt).update(what).digest("hex");
  return { contentSha256: keyed(`kvault.content/1 ${contentSha256}`), tenantSalt: keyed("kvault.tenant/1") };
}

/** Hex SHA-256 over every field of `identity`, by name. */
export function contextDigest(identity: ContextIdentity): string {
  return digestFields("kvault.context/1", [
    ["weightsSha256", identity.weightsSha256],
    ["tokenizerSha256", identity.tokenizerSha256],
    ["templateSha256", identity.templateSha256],
    ["rope", identity.rope],
    ["contentSha256", identity.contentSha256],
    ["spec", identity.spec],
    ["formatVersion", String(identity.formatVersion)],
    ["tenantSalt", identity.tenantSalt],
    // A field of its own only where there is one: records made before there were profiles keep their digest.
    ...(identity.profiles === undefined ? [] : [["profiles", identity.profiles] as const]),
  ]);
}

const ID_DIGITS = 32;
const CONTEXT_ID = /^c[0-9a-f]{32}$/;

/** The id of the context with `digest`: "c" and its first 32 hex digits (128 bits). */
export function contextIdOf(digest: string): string {
  if (!/^[0-9a-f]{64}$/.test(digest)) throw new RangeError("Cannot name context: digest is not 64 lower-case hex digits");
  return `c${digest.slice(0, ID_DIGITS)}`;
}

/** True for what {@link contextIdOf} returns; such an id is safe in keys, names and file paths. */
export function isContextId(text: string): boolean {
  return CONTEXT_ID.test(text);
}
