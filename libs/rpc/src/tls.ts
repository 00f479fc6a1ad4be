/**
 * TLS from files that may change: new handshakes use the new certificates, connections under way
 * go on. A pair that does not fit, as between two writes, is not taken.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import type { experimental } from "@grpc/grpc-js";
import { KvaultError } from "@kvault/core";
import { type WatchedFile, watchFiles } from "./auth/watched-file.ts";
import type { RpcLogger } from "./rpc-logger.ts";

/** PEM files. `cert` and `key` come together; `ca` are the authorities that the peer is checked against. */
export interface TlsFiles {
  readonly certFile?: string;
  readonly keyFile?: string;
  readonly caFile?: string;
}

interface Material {
  readonly identity: experimental.IdentityCertificateUpdate | null;
  readonly ca: experimental.CaCertificateUpdate | null;
}

export interface TlsFileOptions {
  readonly log?: RpcLogger;
  /** How often the files are looked at; 1 s. */
  readonly intervalMs?: number;
}

/** What grpc-js asks for certificates, from files. Close it to stop looking at them. */
export class TlsFileProvider implements experimental.CertificateProvider {
  readonly #watched: WatchedFile<Material>;
  readonly #caListeners = new Set<experimental.CaCertificateUpdateListener>();
  readonly #identityListeners = new Set<experimental.IdentityCertificateUpdateListener>();

  /** INVALID_ARGUMENT naming what cannot be used. */
  constructor(files: TlsFiles, { log, intervalMs }: TlsFileOptions = {}) {
    const paths = [files.certFile, files.keyFile, files.caFile].filter((path) => path !== undefined);
    this.#watched = watchFiles({
      paths,
      read: () => readMaterial(files),
      onChange: ({ identity, ca }) => {
        for (const listener of this.#identityListeners) listener(identity);
        for (const listener of this.#caListeners) listener(ca);
        log?.info({}, "certificates renewed");
      },
      onError: (error) => log?.error({ err: error }, "certificates not taken: those before stay in use"),
      ...(intervalMs === undefined ? {} : { intervalMs }),
    });
  }

  addCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.#caListeners.add(listener);
    // grpc-js is ready to hear once its own call is over.
    process.nextTick(() => listener(this.#watched.value.ca));
  }

  removeCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.#caListeners.delete(listener);
  }

  addIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
    this.#identityListeners.add(listener);
    process.nextTick(() => listener(this.#watched.value.identity));
  }

  removeIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
    this.#identityListeners.delete(listener);
  }

  /** Idempotent. */
  close(): void {
    this.#watched.close();
  }
}

/** PEM bytes as `node:https` and `node:tls` take them. */
export interface TlsContext {
  readonly cert?: Buffer;
  readonly key?: Buffer;
  readonly ca?: Buffer;
}

/** The files' contents for a server of Node's own; `onChange` gets each later version. INVALID_ARGUMENT when they cannot be used. */
export function watchTlsContext(files: TlsFiles, onChange: (context: TlsContext) => void): WatchedFile<TlsContext> {
  return watchFiles({
    paths: [files.certFile, files.keyFile, files.caFile].filter((path) => path !== undefined),
    read: () => {
      const { identity, ca } = readMaterial(files);
      return {
        ...(identity === null ? {} : { cert: identity.certificate, key: identity.privateKey }),
        ...(ca === null ? {} : { ca: ca.caCertificate }),
      };
    },
    onChange,
  });
}

function readMaterial({ certFile, keyFile, caFile }: TlsFiles): Material {
  if ((certFile === undefined) !== (keyFile === undefined)) throw unusable("a certificate and its key come together");
  try {
    const certificate = certFile === undefined ? undefined : readFileSync(certFile);
    const privateKey = keyFile === undefined ? undefined : readFileSync(keyFile);
    const caCertificate = caFile === undefined ? undefined : readFileSync(caFile);
    createSecureContext({ cert: certificate, key: privateKey, ca: caCertificate });
    return {
      identity: certificate === undefined || privateKey === undefined ? null : { certificate, privateKey },
      ca: caCertificate === undefined ? null : { caCertificate },
    };
  } catch (error) {
    throw unusable(error instanceof Error ? error.message : String(error));
  }
}

function unusable(what: string): KvaultError {
  return new KvaultError("INVALID_ARGUMENT", `Cannot use TLS files: ${what}`, { details: { field: "tls" } });
}
