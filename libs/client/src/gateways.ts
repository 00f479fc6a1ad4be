/**
 * The gateways a client may talk to: one at a time, the next one when that is lost.
 *
 * @module
 */

import { isKvaultError } from "@kvault/core";
import {
  type Channel,
  type ChannelOptions,
  type Client,
  Cluster,
  Contexts,
  createClient,
  Inference,
  Models,
  openChannel,
} from "@kvault/rpc";

/** The API as it is on the wire: typed messages, nothing retried. */
export interface Api {
  readonly contexts: Client<typeof Contexts>;
  readonly inference: Client<typeof Inference>;
  readonly models: Client<typeof Models>;
  readonly cluster: Client<typeof Cluster>;
}

export interface Gateways {
  /** Of the gateway that calls go to now. */
  readonly address: string;
  readonly api: Api;
  /** Resolves once connected to any of them; UNREACHABLE when none answers in `timeoutMs`. */
  whenReady(timeoutMs: number): Promise<void>;
  /** A call to `api` failed: calls go to the next gateway when this one is gone or going. */
  failed(api: Api, error: unknown): void;
  /** Idempotent. */
  close(): void;
}

interface Gateway {
  readonly channel: Channel;
  readonly api: Api;
}

export function openGateways(addresses: readonly string[], options: ChannelOptions): Gateways {
  const gateways: Gateway[] = [];
  try {
    for (const address of addresses) gateways.push(openGateway(address, options));
  } catch (error) {
    for (const { channel } of gateways) channel.close();
    throw error;
  }
  const [first] = gateways;
  if (first === undefined) throw new RangeError("Cannot open a client: no address");
  let current = first;
  const advance = (): void => {
    current = gateways[(gateways.indexOf(current) + 1) % gateways.length] ?? first;
  };
  return {
    get address() {
      return current.channel.address;
    },
    get api() {
      return current.api;
    },
    async whenReady(timeoutMs) {
      const ready = gateways.map((gateway) => gateway.channel.whenReady(timeoutMs).then(() => gateway));
      try {
        current = await Promise.any(ready);
      } catch (error) {
        throw error instanceof AggregateError ? error.errors[0] : error;
      }
    },
    failed(api, error) {
      if (api === current.api && isKvaultError(error, "UNREACHABLE", "DRAINING")) advance();
    },
    close() {
      for (const { channel } of gateways) channel.close();
    },
  };
}

function openGateway(address: string, options: ChannelOptions): Gateway {
  const channel = openChannel(address, options);
  return {
    channel,
    api: {
      contexts: createClient(Contexts, channel),
      inference: createClient(Inference, channel),
      models: createClient(Models, channel),
      cluster: createClient(Cluster, channel),
    },
  };
}
