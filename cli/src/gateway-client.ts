/**
 * The public API of one gateway, as the commands use it.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { invalidArgument } from "@kvault/core";
import { type Client, Cluster, Contexts, createClient, Inference, Models, openChannel } from "@kvault/rpc";
import type { ConnectionFlags } from "./options.ts";

/** Longest wait for a connection, milliseconds. */
const CONNECT_TIMEOUT_MS = 2_000;

export interface GatewayClient {
  readonly contexts: Client<typeof Contexts>;
  readonly inference: Client<typeof Inference>;
  readonly models: Client<typeof Models>;
  readonly cluster: Client<typeof Cluster>;
  /** Idempotent. */
  close(): void;
}

/** Connects to `host:port` or `unix:/path`; UNREACHABLE when nothing answers there. */
export async function connectGateway({ address, tokenFile, tlsCaFile }: ConnectionFlags): Promise<GatewayClient> {
  const channel = openChannel(address, {
    ...(tokenFile === undefined ? {} : { token: readText("token-file", tokenFile) }),
    ...(tlsCaFile === undefined ? {} : { tls: { ca: readText("tls-ca-file", tlsCaFile) } }),
  });
  try {
    await channel.whenReady(CONNECT_TIMEOUT_MS);
  } catch (error) {
    channel.close();
    throw error;
  }
  return {
    contexts: createClient(Contexts, channel),
    inference: createClient(Inference, channel),
    models: createClient(Models, channel),
    cluster: createClient(Cluster, channel),
    close: () => channel.close(),
  };
}

/** Connects, works, closes. */
export async function withGateway(flags: ConnectionFlags, work: (gateway: GatewayClient) => Promise<void>): Promise<void> {
  const gateway = await connectGateway(flags);
  try {
    await work(gateway);
  } finally {
    gateway.close();
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
