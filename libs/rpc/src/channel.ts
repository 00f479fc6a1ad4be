/**
 * One HTTP/2 connection to one address, shared by the clients of several services.
 *
 * @module
 */
import { ChannelCredentials, Client as GrpcClient } from "@grpc/grpc-js";
import { KvaultError } from "@kvault/core";
import { KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS, MAX_MESSAGE_BYTES } from "./limits.ts";

/** PEM texts; an absent `ca` means the system's authorities. `cert` and `key` are ours, for mutual TLS. */
export interface ClientTls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface ChannelOptions {
  readonly tls?: ClientTls;
  /** Largest message sent or taken; {@link MAX_MESSAGE_BYTES}. */
  readonly maxMessageBytes?: number;
  /** Probe the connection also while no call runs: a dead peer is known before the next call. */
  readonly keepaliveWithoutCalls?: boolean;
}

export interface Channel {
  readonly address: string;
  /** Resolves once connected; UNREACHABLE after `timeoutMs`. Calls connect by themselves and need not wait for this. */
  whenReady(timeoutMs: number): Promise<void>;
  /** Idempotent. Calls under way go on; new ones are refused with CLOSED. */
  close(): void;
  /** For clients; throws CLOSED after `close`. */
  grpc(): GrpcClient;
}

/** Opens a channel to `host:port` or `unix:/path`; connects on first use. */
export function openChannel(address: string, options: ChannelOptions = {}): Channel {
  const client = new GrpcClient(address, credentials(options.tls), {
    "grpc.max_receive_message_length": options.maxMessageBytes ?? MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": options.maxMessageBytes ?? MAX_MESSAGE_BYTES,
    "grpc.keepalive_time_ms": KEEPALIVE_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
    "grpc.keepalive_permit_without_calls": options.keepaliveWithoutCalls === true ? 1 : 0,
    // A restarted peer on the same address is found again quickly.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 5_000,
    // Closing this channel closes its connection.
    "grpc.use_local_subchannel_pool": 1,
    // Addresses here are peers; a web proxy in the environment is not meant for them.
    "grpc.enable_http_proxy": 0,
  });
  let closed = false;
  return {
    address,
    grpc() {
      if (closed) throw new KvaultError("CLOSED", `Cannot call "${address}": the channel is closed`);
      return client;
    },
    whenReady: (timeoutMs) =>
      new Promise((resolve, reject) => {
        client.waitForReady(Date.now() + timeoutMs, (error) => {
          if (error === undefined) resolve();
          else
            reject(
              new KvaultError("UNREACHABLE", `Cannot connect to "${address}": no answer in ${timeoutMs} ms`, {
                details: { address },
              }),
            );
        });
      }),
    close() {
      if (!closed) client.close();
      closed = true;
    },
  };
}

function credentials(tls: ClientTls | undefined): ChannelCredentials {
  if (tls === undefined) return ChannelCredentials.createInsecure();
  const bytes = (pem: string | undefined): Buffer | null => (pem === undefined ? null : Buffer.from(pem));
  return ChannelCredentials.createSsl(bytes(tls.ca), bytes(tls.key), bytes(tls.cert));
}
