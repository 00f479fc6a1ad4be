/**
 * Calls to whichever gateway there is, tried again where that is safe.
 *
 * @module
 */
import type { KvaultError } from "@kvault/core";
import type { CallOptions } from "@kvault/rpc";
import { type CallSettings, callOptions } from "./call-settings.ts";
import type { Api, Gateways } from "./gateways.ts";
import { createTries, type RetryPolicy, type Tries } from "./retry.ts";

/** Time for a call with one reply whose caller set none. */
const DEFAULT_TIMEOUT_MS = 60_000;

export interface Connection {
  readonly gateways: Gateways;
  readonly retry: RetryPolicy;
}

/** A call with one reply. `canRepeat` narrows what is tried again. */
export async function callOnce<T>(
  { gateways, retry }: Connection,
  settings: CallSettings,
  work: (api: Api, options: CallOptions) => Promise<T>,
  canRepeat?: (error: KvaultError) => boolean,
): Promise<T> {
  const options = callOptions(settings, DEFAULT_TIMEOUT_MS);
  const tries = createTries(retry, { ...options, ...(canRepeat === undefined ? {} : { canRepeat }) });
  for (;;) {
    const { api } = gateways;
    try {
      return await work(api, options);
    } catch (error) {
      gateways.failed(api, error);
      await tries.next(error);
    }
  }
}

/** A stream of replies, opened again after a failure for as long as `tries` goes on; `open` knows what it gave already. */
export async function* callAgain<T>(
  { gateways }: Connection,
  tries: Tries,
  open: (api: Api) => AsyncIterable<T>,
): AsyncGenerator<T, void, undefined> {
  for (;;) {
    const { api } = gateways;
    try {
      yield* open(api);
      return;
    } catch (error) {
      gateways.failed(api, error);
      await tries.next(error);
    }
  }
}
