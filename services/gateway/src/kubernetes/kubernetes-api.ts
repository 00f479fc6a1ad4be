/**
 * The Kubernetes API as a pod reaches it: one address, the authority and the token of its service
 * account. Both files change while we run, so they are read for every request.
 *
 * Ours rather than the official client: one list and one watch of one resource (see docs/adr).
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import http from "node:http";
import https from "node:https";
import { join } from "node:path";
import { KvaultError } from "@kvault/core";

export interface KubernetesAccess {
  /** `https://host:port`. */
  readonly apiUrl: string;
  /** Folder with `token`, `ca.crt` and `namespace`, as a pod has it. */
  readonly accountDir: string;
}

/** A status other than 200. */
export class KubernetesStatus extends Error {
  readonly code: number;
  constructor(code: number, path: string) {
    super(`GET ${path}: HTTP ${code}`);
    this.code = code;
  }
}

/** Longest JSON answer to a request that is not a watch. */
const MAX_BODY_BYTES = 16 * 2 ** 20;
/** Longest line of a watch: one object. */
const MAX_LINE_BYTES = 4 * 2 ** 20;
const REQUEST_TIMEOUT_MS = 10_000;

export class KubernetesApi {
  readonly #access: KubernetesAccess;

  constructor(access: KubernetesAccess) {
    this.#access = access;
  }

  async namespace(): Promise<string> {
    return (await this.#file("namespace")).trim();
  }

  async get(path: string, signal: AbortSignal): Promise<unknown> {
    const response = await this.#open(path, AbortSignal.any([signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]));
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.byteLength;
      if (bytes > MAX_BODY_BYTES) throw tooLong(path, MAX_BODY_BYTES);
      chunks.push(chunk);
    }
    return JSON.parse(Buffer.concat(chunks).toString());
  }

  /** The lines of a watch, parsed, until the server ends it or nothing comes for `silenceMs`. */
  async *lines(path: string, silenceMs: number, signal: AbortSignal): AsyncGenerator<unknown, void, undefined> {
    const silent = new AbortController();
    const timer = setTimeout(() => silent.abort(), silenceMs);
    try {
      const response = await this.#open(path, AbortSignal.any([signal, silent.signal]));
      let rest = "";
      response.setEncoding("utf8");
      for await (const text of response as AsyncIterable<string>) {
        timer.refresh();
        const lines = (rest + text).split("\n");
        rest = lines.pop() ?? "";
        if (rest.length > MAX_LINE_BYTES) throw tooLong(path, MAX_LINE_BYTES);
        for (const line of lines) if (line.trim() !== "") yield JSON.parse(line);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async #open(path: string, signal: AbortSignal): Promise<IncomingMessage> {
    const url = new URL(path, this.#access.apiUrl);
    const headers = { accept: "application/json", authorization: `Bearer ${(await this.#file("token")).trim()}` };
    const secure = url.protocol === "https:";
    const ca = secure ? await this.#file("ca.crt") : undefined;
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const request = secure
        ? https.get(url, { headers, ca, signal, agent: false }, resolve)
        : http.get(url, { headers, signal, agent: false }, resolve);
      request.once("error", reject);
    });
    if (response.statusCode === 200) return response;
    response.destroy();
    throw new KubernetesStatus(response.statusCode ?? 0, url.pathname);
  }

  #file(name: string): Promise<string> {
    return readFile(join(this.#access.accountDir, name), "utf8");
  }
}

function tooLong(path: string, bytes: number): KvaultError {
  return new KvaultError("INTERNAL", `Cannot read the Kubernetes API's answer to ${path}: it is longer than ${bytes} bytes`);
}
