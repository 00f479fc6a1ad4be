/**
 * A client of the gateway that the flags name.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { type KvaultClient, openClient } from "@kvault/client";
import { invalidArgument } from "@kvault/core";
import type { ConnectionFlags } from "./options.ts";

/** Longest wait for a connection, milliseconds. */
const CONNECT_TIMEOUT_MS = 2_000;

/** Connects to `host:port` or `unix:/path`; UNREACHABLE when nothing answers there. */
export async function connectGateway({ address, tokenFile, tlsCaFile }: ConnectionFlags): Promise<KvaultClient> {
  const client = openClient(address, {
    ...(tokenFile === undefined ? {} : { token: readText("token-file", tokenFile) }),
    ...(tlsCaFile === undefined ? {} : { tls: { ca: readText("tls-ca-file", tlsCaFile) } }),
  });
  try {
    await client.whenReady(CONNECT_TIMEOUT_MS);
  } catch (error) {
    client.close();
    throw error;
  }
  return client;
}

/** Connects, works, closes. */
export async function withGateway(flags: ConnectionFlags, work: (client: KvaultClient) => Promise<void>): Promise<void> {
  const client = await connectGateway(flags);
  try {
    await work(client);
  } finally {
    client.close();
  }
}

function readText(option: string, path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : "unreadable";
    throw invalidArgument(option, `Cannot read "${path}": ${reason}`);
  }
}
