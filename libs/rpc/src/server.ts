/**
 * A gRPC server: services, health, reflection, limits, and a stop that lets calls finish.
 *
 * @module
 */
import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { experimental, Server, ServerCredentials, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { KvaultError } from "@kvault/core";
import { boundAddress, clearStaleSocket, isLoopback, unixPath } from "./address.ts";
import { authenticationInterceptor, type ServerAuthentication } from "./auth/authentication.ts";
import { type Interceptor, type ServiceImplementation, wrappedHandlers } from "./call.ts";
import { Health } from "./health.ts";
import { errorMap } from "./interceptors/error-map.ts";
import { callTelemetry } from "./interceptors/telemetry.ts";
import { KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS, MAX_MESSAGE_BYTES } from "./limits.ts";
import { reflectionOf } from "./reflection.ts";
import type { RpcLogger } from "./rpc-logger.ts";
import { LiveCalls, serveMethod } from "./serve-method.ts";
import { serviceDefinition } from "./service-definition.ts";
import { TlsFileProvider, type TlsFiles } from "./tls.ts";

/** PEM texts. With `clientCa`, callers must show a certificate signed by it. */
export interface ServerTls {
  readonly cert: string;
  readonly key: string;
  readonly clientCa?: string;
}

export interface ServerOptions {
  /** `host:port` (port 0: a free one) or `unix:/path`. */
  readonly address: string;
  readonly services: readonly ServiceImplementation[];
  /** PEM texts, or files that are read again when they change: `caFile` is then whose callers are let in (mutual TLS). */
  readonly tls?: ServerTls | TlsFiles;
  /** Serve without TLS on an address that others can reach. Refused otherwise. */
  readonly allowPlaintext?: boolean;
  /** Where health alone is served too, without TLS and without tokens: who probes often can speak neither. */
  readonly healthAddress?: string;
  /** Asks every call but health's for a token; anybody may call when absent. */
  readonly auth?: ServerAuthentication;
  /** Wrappers around every handler, outermost first. Errors are mapped inside all of them. */
  readonly interceptors?: readonly Interceptor[];
  readonly log?: RpcLogger;
  /** Largest message taken; {@link MAX_MESSAGE_BYTES}. */
  readonly maxMessageBytes?: number;
  /** A connection is asked to reconnect after this long, ±10 %; how clients get to see new servers. Never when absent. */
  readonly maxConnectionAgeMs?: number;
  /** A reader that takes nothing for this long is given up; 30 s. */
  readonly stalledReaderMs?: number;
}

export interface CloseOptions {
  /** How long calls may go on; 10 s. What is left then ends with DRAINING. */
  readonly drainMs?: number;
  /** How long new calls are still taken after health said no, so that whoever routes here notices; 0. */
  readonly noticeMs?: number;
}

export interface RunningServer {
  /** Where it listens, with the real port. */
  readonly address: string;
  /** Where health alone is served, with the real port. */
  readonly healthAddress: string | undefined;
  /** What health tells about `""`, `readiness` and every service. */
  setServing(serving: boolean): void;
  /** Takes itself out of health, refuses new calls, waits for those running, then cuts the rest. Idempotent. */
  close(options?: CloseOptions): Promise<void>;
}

/** What a call that was cut gets to send its last status. */
const FORCE_GRACE_MS = 250;
/**
 * When our calls are over, connections get this long to close: a busy caller reads its last reply
 * from one that must not be cut. Streams that are not ours (health watches) never end by themselves.
 */
const STRANGER_GRACE_MS = 1_000;
const DEFAULT_DRAIN_MS = 10_000;
const DEFAULT_STALLED_READER_MS = 30_000;

const SILENT: RpcLogger = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** Starts listening; resolves when callers can connect. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  if (options.tls === undefined && options.allowPlaintext !== true && !isLoopback(options.address)) {
    const message = `Cannot listen on "${options.address}" without TLS: others can reach it, and read and change what is said`;
    throw new KvaultError("INVALID_ARGUMENT", message, { details: { field: "tls" } });
  }
  const tlsFiles =
    options.tls === undefined || "cert" in options.tls ? undefined : new TlsFileProvider(options.tls, tlsOptions(options));
  const server = new Server({
    ...(options.auth === undefined ? {} : { interceptors: [authenticationInterceptor(options.auth)] }),
    "grpc.max_receive_message_length": options.maxMessageBytes ?? MAX_MESSAGE_BYTES,
    "grpc.keepalive_time_ms": KEEPALIVE_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
    // Books that nobody reads.
    "grpc.enable_channelz": 0,
    ...(options.maxConnectionAgeMs === undefined ? {} : { "grpc.max_connection_age_ms": options.maxConnectionAgeMs }),
  });
  const live = new LiveCalls();
  const interceptors = [callTelemetry, ...(options.interceptors ?? []), errorMap];
  const serve = { log: options.log ?? SILENT, stalledReaderMs: options.stalledReaderMs ?? DEFAULT_STALLED_READER_MS };
  for (const service of options.services) {
    const handlers: UntypedServiceImplementation = {};
    for (const [method, handler] of wrappedHandlers(service, interceptors)) {
      handlers[method.localName] = serveMethod(method, handler, live, serve);
    }
    server.addService(serviceDefinition(service.descriptor), handlers);
  }
  const descriptors = options.services.map((service) => service.descriptor);
  const health = new Health(descriptors.map((descriptor) => descriptor.typeName));
  health.implementation.addToServer(server);
  reflectionOf(descriptors).addToServer(server);

  const healthServer = options.healthAddress === undefined ? undefined : await serveHealth(health, options.healthAddress);
  const path = unixPath(options.address);
  if (path !== undefined) await clearStaleSocket(path);
  const port = await listen(server, options.address, credentials(options.tls, tlsFiles)).catch((error: unknown) => {
    healthServer?.stop();
    throw error;
  });
  const address = boundAddress(options.address, port);

  let closing: Promise<void> | undefined;
  const stop = async ({ drainMs = DEFAULT_DRAIN_MS, noticeMs = 0 }: CloseOptions): Promise<void> => {
    health.setServing(false);
    if (noticeMs > 0) await sleep(noticeMs);
    live.refuseNew = new KvaultError("DRAINING", "Cannot take the call: the server is stopping");
    // Connections stay open until our calls are over: grpc-js takes one that is being closed for dead
    // at its next keepalive ping, and its streams with it.
    const idle = await withTimeout(live.whenIdle(), drainMs);
    const allClosed = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
    if (!idle) live.abortAll(new KvaultError("DRAINING", `Cannot finish the call: the server stopped and waited ${drainMs} ms`));
    await withTimeout(allClosed, idle ? STRANGER_GRACE_MS : FORCE_GRACE_MS);
    server.forceShutdown();
    // To the end: a process that drains is alive.
    healthServer?.stop();
    tlsFiles?.close();
    if (path !== undefined) await rm(path, { force: true });
  };
  return {
    address,
    healthAddress: healthServer?.address,
    setServing: (serving) => health.setServing(serving && closing === undefined),
    close(closeOptions = {}) {
      closing ??= stop(closeOptions);
      return closing;
    },
  };
}

async function serveHealth(health: Health, wanted: string): Promise<{ readonly address: string; stop(): void }> {
  const server = new Server();
  health.implementation.addToServer(server);
  const address = boundAddress(wanted, await listen(server, wanted, ServerCredentials.createInsecure()));
  return { address, stop: () => server.forceShutdown() };
}

function listen(server: Server, address: string, how: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, how, (error, port) => {
      if (error === null) resolve(port);
      else
        reject(
          new KvaultError("INVALID_ARGUMENT", `Cannot listen on "${address}": ${error.message}`, {
            details: { field: "address" },
            cause: error,
          }),
        );
    });
  });
}

function tlsOptions({ log }: ServerOptions): { log?: RpcLogger } {
  return log === undefined ? {} : { log };
}

function credentials(tls: ServerOptions["tls"], files: TlsFileProvider | undefined): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  if (!("cert" in tls)) {
    const callers = (tls as TlsFiles).caFile === undefined ? null : files;
    // grpc-js 1.14 takes our own certificate first and the callers' authorities second, whatever it calls them.
    return experimental.createCertificateProviderServerCredentials(files as TlsFileProvider, callers ?? null, callers !== null);
  }
  const clientCa = tls.clientCa === undefined ? null : Buffer.from(tls.clientCa);
  const pair = { cert_chain: Buffer.from(tls.cert), private_key: Buffer.from(tls.key) };
  return ServerCredentials.createSsl(clientCa, [pair], clientCa !== null);
}

/** True when `promise` settled within `ms`. */
async function withTimeout(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  return Promise.race([promise.then(() => true), late]).finally(() => clearTimeout(timer));
}
