/**
 * The audit log: one JSON line for every call, in a file that is only ever appended to. Who called
 * what on which context and how it ended; never a text, and no token but its public id. An entry
 * is built from a closed list of fields, so nothing of a request can slip in.
 *
 * Lines are written in order as the disk takes them. What cannot be written is counted and told to
 * the operator's log: calls go on.
 *
 * @module
 */
import { once } from "node:events";
import { createWriteStream, type WriteStream } from "node:fs";
import { open } from "node:fs/promises";
import { KvaultError } from "@kvault/core";
import type { RpcLogger } from "@kvault/rpc";

interface AuditEntry {
  readonly requestId: string;
  /** "" for callers that were not let in. */
  readonly tenant: string;
  readonly tokenId: string;
  /** `/package.Service/Method`. */
  readonly rpc: string;
  /** `contexts/{id}` or `operations/{id}`; "" when the call was about none. */
  readonly resource: string;
  /** `OK` or an error code. */
  readonly outcome: string;
  /** More to an outcome, from a closed set: why a token was refused, which quota. */
  readonly reason: string;
}

export interface AuditLog {
  write(entry: AuditEntry): void;
  /** Lines that were lost. */
  readonly lost: number;
  /** Waits until everything is written. Idempotent. */
  close(): Promise<void>;
}

/** Bytes that may wait for a slow disk before lines are dropped. */
const MAX_WAITING_BYTES = 8 * 2 ** 20;

/** Appends to the file at `path`, which only its owner may read. INVALID_ARGUMENT when it cannot be opened. */
export async function openAuditLog(path: string, log: RpcLogger, nowMs: () => number = Date.now): Promise<AuditLog> {
  const handle = await open(path, "a", 0o600).catch((cause: Error) => {
    throw new KvaultError("INVALID_ARGUMENT", `Cannot open the audit log: ${cause.message}`, {
      details: { field: "auditFile" },
      cause,
    });
  });
  await handle.close();
  const stream: WriteStream = createWriteStream(path, { flags: "a", mode: 0o600 });
  let lost = 0;
  let closing: Promise<void> | undefined;
  const lose = (error: unknown): void => {
    lost++;
    if (lost === 1) log.error({ err: error }, "audit log cannot be written");
  };
  stream.on("error", lose);
  return {
    write({ requestId, tenant, tokenId, rpc, resource, outcome, reason }) {
      const time = new Date(nowMs()).toISOString();
      const line = JSON.stringify({ time, requestId, tenant, tokenId, rpc, resource, outcome, reason });
      if (stream.destroyed || stream.writableLength > MAX_WAITING_BYTES) lose(new Error("the disk does not keep up"));
      else stream.write(`${line}\n`);
    },
    get lost() {
      return lost;
    },
    close() {
      closing ??= stream.destroyed ? Promise.resolve() : once(stream.end(), "close").then(() => undefined);
      return closing;
    },
  };
}
