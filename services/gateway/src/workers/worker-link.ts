/**
 * One worker as the gateway sees it: a channel, and whether it answered lately.
 *
 * A worker is live while its last good Status is younger than the lease. A call that found it
 * unreachable ends the lease at once; the next beat that gets through starts it again.
 *
 * @module
 */
import { type Channel, type Client, createClient, INTERNAL_MESSAGE_BYTES, openChannel, Workers } from "@kvault/rpc";

const BEAT_INTERVAL_MS = 5_000;
const LEASE_MS = 15_000;
/** A worker that takes longer for a Status misses the beat. */
const BEAT_TIMEOUT_MS = 3_000;

export class WorkerLink {
  readonly address: string;
  readonly client: Client<typeof Workers>;
  readonly #channel: Channel;
  #leaseEndMs = 0;
  #beating: Promise<void> | undefined;

  constructor(address: string) {
    this.address = address;
    this.#channel = openChannel(address, { keepaliveWithoutCalls: true, maxMessageBytes: INTERNAL_MESSAGE_BYTES });
    this.client = createClient(Workers, this.#channel);
  }

  get isLive(): boolean {
    return Date.now() < this.#leaseEndMs;
  }

  /** Asks for its Status and renews the lease on an answer. Never rejects; joins a beat under way. */
  beat(): Promise<void> {
    this.#beating ??= this.client
      .status({}, { deadlineMs: Date.now() + BEAT_TIMEOUT_MS })
      .then(
        () => {
          this.#leaseEndMs = Date.now() + LEASE_MS;
        },
        () => undefined,
      )
      .finally(() => {
        this.#beating = undefined;
      });
    return this.#beating;
  }

  /** After a call that found nobody there. */
  endLease(): void {
    this.#leaseEndMs = 0;
  }

  close(): void {
    this.#channel.close();
  }
}

/** The workers of one kind, beaten regularly. */
export class WorkerSet {
  readonly links: readonly WorkerLink[];
  readonly #timer: NodeJS.Timeout;

  constructor(addresses: readonly string[]) {
    this.links = addresses.map((address) => new WorkerLink(address));
    this.#timer = setInterval(() => void this.beat(), BEAT_INTERVAL_MS);
    this.#timer.unref();
  }

  /** Resolves when every worker has answered or missed the beat. */
  async beat(): Promise<void> {
    await Promise.all(this.links.map((link) => link.beat()));
  }

  get live(): readonly WorkerLink[] {
    return this.links.filter((link) => link.isLive);
  }

  /** The live ones; when there are none, those that answer right now. */
  async liveNow(): Promise<readonly WorkerLink[]> {
    if (this.live.length === 0) await this.beat();
    return this.live;
  }

  close(): void {
    clearInterval(this.#timer);
    for (const link of this.links) link.close();
  }
}
