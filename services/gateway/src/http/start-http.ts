/**
 * The HTTP front: OpenAI's protocol, /v1/contexts and the web console, on a port of its own beside gRPC's.
 *
 * It has no handlers of its own. Every request goes through the gateway's gRPC handlers and all
 * that stands around them (tokens, quotas, limits, audit, log), in this process.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import { type CloseOptions, type InProcessClients, isLoopback, type TlsFiles, watchTlsContext } from "@kvault/rpc";
import fastify, { type FastifyInstance } from "fastify";
import { chatCompletions } from "./chat-completions.ts";
import { webConsole } from "./console.ts";
import { contexts } from "./contexts.ts";
import { httpCall } from "./http-call.ts";
import { httpError } from "./http-error.ts";
import { models } from "./models.ts";
import { workers } from "./workers.ts";

/** JSON may write a text of 4 MiB with an escape for every other character. */
const MAX_BODY_BYTES = 16 * 2 ** 20;
const DEFAULT_DRAIN_MS = 10_000;
/** For a request's head and body to arrive. */
const REQUEST_TIMEOUT_MS = 120_000;

export interface HttpOptions {
  /** `host:port`; port 0 takes a free one. */
  readonly address: string;
  readonly clients: InProcessClients;
  readonly tls?: TlsFiles;
  /** Serve without TLS on an address that others can reach. Refused otherwise. */
  readonly allowPlaintext?: boolean;
}

export interface RunningHttp {
  /** `host:port`, with the real port. */
  readonly address: string;
  /** Refuses new requests, waits `drainMs` for those under way, then cuts them. Idempotent. */
  close(options?: CloseOptions): Promise<void>;
}

/** Starts listening; resolves when callers can connect. */
export async function startHttp(options: HttpOptions): Promise<RunningHttp> {
  const { address, tls } = options;
  const { host, port } = hostAndPort(address);
  if (tls === undefined && options.allowPlaintext !== true && !isLoopback(address)) {
    throw new KvaultError("INVALID_ARGUMENT", `Cannot listen on "${address}" without TLS: others can reach it`, {
      details: { field: "tls" },
    });
  }
  const { server, release } = createServer(tls);
  const live = new Set<AbortSignal>();
  let draining = false;

  server.addHook("onRequest", async (request, reply) => {
    const { caller } = httpCall(request, reply);
    live.add(caller.signal);
    reply.raw.once("close", () => live.delete(caller.signal));
    if (draining) throw new KvaultError("DRAINING", "Cannot take the request: the server is stopping");
  });
  server.setErrorHandler((error, request, reply) => {
    const { requestId } = httpCall(request, reply);
    const { status, headers, body } = httpError(ownError(error), requestId);
    void reply.code(status).headers(headers).send(body);
  });
  server.setNotFoundHandler((request, reply) => {
    const message = `Cannot find ${request.method} ${request.url.slice(0, 200)}: no such path`;
    void reply
      .code(404)
      .send({ error: { message, type: "not_found_error", param: null, code: "INVALID_ARGUMENT", details: {} } });
  });
  // A text sent as it is: read piece by piece, never whole.
  server.addContentTypeParser(["text/plain", "application/octet-stream"], (_request, payload, done) => done(null, payload));

  server.get("/health", { logLevel: "silent" }, async () => ({ status: "ok" }));
  chatCompletions(server, options.clients);
  models(server, options.clients);
  contexts(server, options.clients);
  workers(server, options.clients);
  webConsole(server);

  const listening = await server.listen({ host, port }).catch(async (cause: Error) => {
    release();
    throw new KvaultError("INVALID_ARGUMENT", `Cannot listen on "${address}": ${cause.message}`, {
      details: { field: "address" },
      cause,
    });
  });

  let closing: Promise<void> | undefined;
  const stop = async ({ drainMs = DEFAULT_DRAIN_MS, noticeMs = 0 }: CloseOptions): Promise<void> => {
    await new Promise((resolve) => setTimeout(resolve, noticeMs));
    draining = true;
    const cut = setTimeout(() => server.server.closeAllConnections(), drainMs);
    server.server.closeIdleConnections();
    await server.close();
    clearTimeout(cut);
    release();
  };
  return {
    address: `${address.slice(0, address.lastIndexOf(":"))}:${new URL(listening).port}`,
    close(closeOptions = {}) {
      closing ??= stop(closeOptions);
      return closing;
    },
  };
}

function createServer(tls: TlsFiles | undefined): { server: FastifyInstance; release: () => void } {
  const limits = { bodyLimit: MAX_BODY_BYTES, requestTimeout: REQUEST_TIMEOUT_MS, forceCloseConnections: "idle" as const };
  if (tls === undefined) return { server: fastify(limits), release: () => undefined };
  let renew: (context: object) => void = () => undefined;
  const watched = watchTlsContext(tls, (context) => renew(context));
  const https = { ...watched.value, requestCert: tls.caFile !== undefined, rejectUnauthorized: tls.caFile !== undefined };
  const server = fastify({ ...limits, https });
  renew = (context) => server.server.setSecureContext(context);
  return { server: server as unknown as FastifyInstance, release: () => watched.close() };
}

/** What the framework found wrong with a request, in our words. */
function ownError(error: unknown): unknown {
  const { statusCode, message } = error as { statusCode?: number; message?: string };
  if (error instanceof KvaultError || statusCode === undefined || statusCode >= 500) return error;
  return new KvaultError("INVALID_ARGUMENT", `Cannot read the request: ${message}`, { details: { field: "body" } });
}

function hostAndPort(address: string): { host: string; port: number } {
  const at = address.lastIndexOf(":");
  const port = Number(address.slice(at + 1));
  if (at < 1 || !Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new KvaultError("INVALID_ARGUMENT", `Cannot listen on "${address}": expected host:port`, {
      details: { field: "address" },
    });
  }
  return { host: address.slice(0, at).replace(/^\[|\]$/g, ""), port };
}
