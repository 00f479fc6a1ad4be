/**
 * The public API of one gateway, as the commands use it.
 *
 * @module
 */
import { type Client, Contexts, createClient, Inference, Models, openChannel } from "@kvault/rpc";

/** Longest wait for a connection, milliseconds. */
const CONNECT_TIMEOUT_MS = 2_000;

export interface GatewayClient {
  readonly contexts: Client<typeof Contexts>;
  readonly inference: Client<typeof Inference>;
  readonly models: Client<typeof Models>;
  /** Idempotent. */
  close(): void;
}

/** Connects to `host:port` or `unix:/path`; UNREACHABLE when nothing answers there. */
export async function connectGateway(address: string): Promise<GatewayClient> {
  const channel = openChannel(address);
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
    close: () => channel.close(),
  };
}
