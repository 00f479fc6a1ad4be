/**
 * A file from the model hub by HTTPS, resumed by byte range.
 *
 * Whether the host answers at all is decided by one short probe, so a machine that cannot reach it
 * moves on in seconds; once it has answered, transfers are tried again with growing waits. What is
 * fetched is pinned by hash, so a resumed part needs no validator: if the file changed in between,
 * the whole does not verify and is thrown away.
 *
 * @module
 */
import type { FileHandle } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { abortError } from "@kvault/core";
import type { HuggingFaceSource } from "../catalogue.ts";
import { type FetchCall, type FetchTimeouts, isDiskError, openPart, writeAt } from "./source.ts";

/** Failures in a row without a new byte before a source is given up. */
const MAX_FRUITLESS_TRIES = 4;
/** Tries in all: a connection cut every few megabytes still finishes half a gigabyte. */
const MAX_TRIES = 200;
const MAX_RETRY_DELAY_MS = 10_000;

/** Fetches `source` from `endpoint` (e.g. `https://huggingface.co`) into the call's partial file. */
export async function fetchFromHuggingFace(
  source: HuggingFaceSource,
  endpoint: string,
  timeouts: FetchTimeouts,
  call: FetchCall,
): Promise<void> {
  const url = `${endpoint.replace(/\/+$/, "")}/${source.repo}/resolve/${source.revision}/${source.file}`;
  await probe(url, timeouts.connectMs, call.signal);
  const handle = await openPart(call.partPath);
  try {
    let fruitless = 0;
    for (let tries = 0; ; tries++) {
      const before = (await handle.stat()).size;
      const failure = await transfer(url, handle, timeouts, call);
      if (failure === undefined) return;
      if (call.signal?.aborted) throw abortError(call.signal);
      fruitless = (await handle.stat()).size > before ? 1 : fruitless + 1;
      if (failure.permanent || fruitless >= MAX_FRUITLESS_TRIES || tries >= MAX_TRIES) throw failure.error;
      const delayMs = Math.min(MAX_RETRY_DELAY_MS, timeouts.retryDelayMs * 2 ** (fruitless - 1));
      await sleep(delayMs, undefined, signalOption(call.signal)).catch(() => undefined);
    }
  } finally {
    await handle.close();
  }
}

/** Throws when the host does not answer in time; any answer will do. */
async function probe(url: string, connectMs: number, signal: AbortSignal | undefined): Promise<void> {
  const timeout = AbortSignal.timeout(connectMs);
  try {
    await fetch(url, { method: "HEAD", redirect: "manual", signal: anySignal(signal, timeout) });
  } catch (cause) {
    if (signal?.aborted) throw abortError(signal);
    const what = timeout.aborted ? `no answer within ${connectMs} ms` : reasonOf(cause);
    throw new Error(`${new URL(url).host}: ${what}`, { cause });
  }
}

interface TransferFailure {
  readonly error: Error;
  /** Another try would end the same way. */
  readonly permanent: boolean;
}

/** One request for the bytes still missing; what went wrong, or undefined when the part is whole. */
async function transfer(
  url: string,
  handle: FileHandle,
  timeouts: FetchTimeouts,
  { pinned, signal, onProgress }: FetchCall,
): Promise<TransferFailure | undefined> {
  let done = (await handle.stat()).size;
  if (done > pinned.bytes) {
    await handle.truncate(0);
    done = 0;
  }
  onProgress(done);
  if (done === pinned.bytes) return undefined;
  const stalled = new AbortController();
  const stallTimer = setTimeout(() => stalled.abort(), timeouts.stallMs);
  try {
    const response = await fetch(url, {
      headers: { range: `bytes=${done}-`, "accept-encoding": "identity" },
      signal: anySignal(signal, stalled.signal),
    });
    const refusal = refusalOf(response, done, pinned.bytes);
    if (refusal !== undefined) {
      await response.body?.cancel();
      return refusal;
    }
    if (response.status === 200 && done > 0) {
      await handle.truncate(0);
      done = 0;
    }
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      stallTimer.refresh();
      if (done + chunk.byteLength > pinned.bytes) return permanent(`sent more than the expected ${pinned.bytes} bytes`);
      await writeAt(handle, chunk, done);
      done += chunk.byteLength;
      onProgress(done);
    }
    if (done === pinned.bytes) return undefined;
    return { error: new Error(`connection closed after ${done} of ${pinned.bytes} bytes`), permanent: false };
  } catch (cause) {
    if (isDiskError(cause)) throw cause;
    const what = stalled.signal.aborted ? `nothing received for ${timeouts.stallMs} ms` : reasonOf(cause);
    return { error: new Error(`${what} (after ${done} of ${pinned.bytes} bytes)`, { cause }), permanent: false };
  } finally {
    clearTimeout(stallTimer);
  }
}

function refusalOf(response: Response, done: number, bytes: number): TransferFailure | undefined {
  const { status } = response;
  if (status !== 200 && status !== 206) {
    const retryable = status === 408 || status === 429 || status >= 500;
    return { error: new Error(`HTTP ${status} from ${new URL(response.url).host}`), permanent: !retryable };
  }
  const [, first, total] = /^bytes (\d+)-\d+\/(\d+)$/.exec(response.headers.get("content-range") ?? "") ?? [];
  const declared = status === 206 ? total : (response.headers.get("content-length") ?? undefined);
  if (declared !== undefined && Number(declared) !== bytes)
    return permanent(`the file there has ${declared} bytes, expected ${bytes}`);
  if (status === 206 && Number(first) !== done) return permanent(`asked for bytes from ${done}, got them from ${first}`);
  return undefined;
}

function permanent(what: string): TransferFailure {
  return { error: new Error(what), permanent: true };
}

/** fetch() says "fetch failed"; its cause says why. */
function reasonOf(error: unknown): string {
  const cause = (error as Error).cause;
  const { code, message } = (cause instanceof Error ? cause : error) as NodeJS.ErrnoException;
  return message === "" || message === undefined ? (code ?? "failed") : message;
}

function anySignal(signal: AbortSignal | undefined, other: AbortSignal): AbortSignal {
  return signal === undefined ? other : AbortSignal.any([signal, other]);
}

function signalOption(signal: AbortSignal | undefined): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}
