/**
 * One HTTP/2 connection to one address, shared by the clients of several services.
 *
 * @module
 */
import { ChannelCredentials, experimental, Client as GrpcClient } from "@grpc/grpc-js";
import { KvaultError } from "@kvault/core";
import { isLoopback } from "./address.ts";
import { KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS, MAX_MESSAGE_BYTES } from "./limits.ts";
import { TlsFileProvider, type TlsFiles } from "./tls.ts";

/** PEM texts; an absent `ca` means the system's authorities. `cert` and `key` are ours, for mutual TLS. */
export interface ClientTls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface ChannelOptions {
  /** PEM texts, or files that are read again when they change. */
  readonly tls?: ClientTls | TlsFiles;
  /** Name that the peer's certificate is checked for, when it is not the address: of many peers that share one. */
  readonly serverName?: string;
  /** Sent with every call; a function is asked at each, so that a token can be rotated. Never over plaintext that others can read. */
  readonly token?: string | (() => string);
  /** Send the token without TLS to an address that is not this machine's. Refused otherwise. */
  readonly allowPlaintext?: boolean;
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
  /** The token of the next call. */
  token(): string | undefined;
}

/** Opens a channel to `host:port` or `unix:/path`; connects on first use. */
export function openChannel(address: string, options: ChannelOptions = {}): Channel {
  const { tls, token } = options;
  if (token !== undefined && tls === undefined && options.allowPlaintext !== true && !isLoopback(address)) {
    const message = `Cannot send a token to "${address}" without TLS: others can read it`;
    throw new KvaultError("INVALID_ARGUMENT", message, { details: { field: "tls" } });
  }
  const files = tls !== undefined && isFiles(tls) ? new TlsFileProvider(tls) : undefined;
  const client = new GrpcClient(address, credentials(tls, files), {
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
    ...(options.serverName === undefined ? {} : { "grpc.ssl_target_name_override": options.serverName }),
    // Whoever calls retries: the copies that grpc-js would keep for that are not needed, nor its bookkeeping.
    "grpc.enable_retries": 0,
    "grpc.enable_channelz": 0,
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
      files?.close();
      closed = true;
    },
    token: () => (typeof token === "function" ? token() : token),
  };
}

function isFiles(tls: ClientTls | TlsFiles): tls is TlsFiles {
  return "caFile" in tls || "certFile" in tls;
}

function credentials(tls: ChannelOptions["tls"], files: TlsFileProvider | undefined): ChannelCredentials {
  if (tls === undefined) return ChannelCredentials.createInsecure();
  if (isFiles(tls)) {
    const provider = files as TlsFileProvider;
    return experimental.createCertificateProviderChannelCredentials(provider, tls.certFile === undefined ? null : provider);
  }
  const bytes = (pem: string | undefined): Buffer | null => (pem === undefined ? null : Buffer.from(pem));
  return ChannelCredentials.createSsl(bytes(tls.ca), bytes(tls.key), bytes(tls.cert));
}
