/**
 * One worker as the gateway sees it: a channel, and whether it answered lately.
 *
 * A worker is live while its last good Status is younger than the lease; only beats decide that.
 * A call that finds it unreachable asks for a beat, and whoever made the call spares the worker
 * for a while.
 *
 * @module
 */
import { isKvaultError } from "@kvault/core";
import {
  type Channel,
  type ChannelOptions,
  type Client,
  createClient,
  INTERNAL_MESSAGE_BYTES,
  openChannel,
  type StatusResponse,
  Workers,
} from "@kvault/rpc";

const BEAT_INTERVAL_MS = 5_000;
const LEASE_MS = 15_000;
/** A worker that takes longer for a Status misses the beat. */
const BEAT_TIMEOUT_MS = 3_000;

/** Told when a beat is sent; what it returns is told the answer. */
export type OnBeat = (link: WorkerLink) => (status: StatusResponse) => void;

/** What workers are shown: a token of role `service`, a certificate. */
export type WorkerAccess = Pick<ChannelOptions, "tls" | "token" | "allowPlaintext" | "serverName">;

export class WorkerLink {
  readonly address: string;
  readonly client: Client<typeof Workers>;
  readonly #channel: Channel;
  readonly #onBeat: OnBeat | undefined;
  #lastStatus: StatusResponse | undefined;
  #leaseEndMs = 0;
  #beating: Promise<void> | undefined;

  constructor(address: string, onBeat?: OnBeat, access: WorkerAccess = {}) {
    this.address = address;
    this.#onBeat = onBeat;
    this.#channel = openChannel(address, { ...access, keepaliveWithoutCalls: true, maxMessageBytes: INTERNAL_MESSAGE_BYTES });
    this.client = createClient(Workers, this.#channel);
  }

  get isLive(): boolean {
    return Date.now() < this.#leaseEndMs;
  }

  /** What it said of itself at its last good beat. */
  get lastStatus(): StatusResponse | undefined {
    return this.#lastStatus;
  }

  /** Asks for its Status and renews the lease on an answer. Never rejects; joins a beat under way. */
  beat(): Promise<void> {
    if (this.#beating !== undefined) return this.#beating;
    const onStatus = this.#onBeat?.(this);
    this.#beating = this.client
      .status({}, { deadlineMs: Date.now() + BEAT_TIMEOUT_MS })
      .then(
        (status) => {
          this.#leaseEndMs = Date.now() + LEASE_MS;
          this.#lastStatus = status;
          onStatus?.(status);
        },
        (error: unknown) => {
          // Nobody there, or on its way out: the lease is not waited for.
          if (isKvaultError(error, "UNREACHABLE", "DRAINING")) this.#leaseEndMs = 0;
        },
      )
      .finally(() => {
        this.#beating = undefined;
      });
    return this.#beating;
  }

  close(): void {
    this.#channel.close();
  }
}

/** Answers of a worker that signed off go on over its channel for at most this long. */
const LEAVING_MS = 600_000;

export interface WorkerSetOptions {
  /** 5 s. */
  readonly beatIntervalMs?: number;
  readonly onBeat?: OnBeat;
  readonly access?: WorkerAccess | undefined;
}

/** The workers of one kind, beaten regularly. */
export class WorkerSet {
  readonly #links = new Map<string, WorkerLink>();
  readonly #leaving = new Map<WorkerLink, NodeJS.Timeout>();
  readonly #onBeat: OnBeat | undefined;
  readonly #access: WorkerAccess | undefined;
  readonly #timer: NodeJS.Timeout;

  constructor(addresses: readonly string[], options: WorkerSetOptions = {}) {
    this.#onBeat = options.onBeat;
    this.#access = options.access;
    for (const address of new Set(addresses)) this.#links.set(address, new WorkerLink(address, options.onBeat, options.access));
    this.#timer = setInterval(() => void this.beat(), options.beatIntervalMs ?? BEAT_INTERVAL_MS);
    this.#timer.unref();
  }

  get links(): readonly WorkerLink[] {
    return [...this.#links.values()];
  }

  /** From now on these are the workers; resolves when new ones have answered or missed their first beat. */
  async setAddresses(addresses: readonly string[]): Promise<void> {
    const wanted = new Set(addresses);
    for (const [address, link] of this.#links) if (!wanted.has(address)) this.#drop(link);
    const fresh = [...wanted]
      .filter((address) => !this.#links.has(address))
      .map((address) => new WorkerLink(address, this.#onBeat, this.#access));
    for (const link of fresh) this.#links.set(link.address, link);
    await Promise.all(fresh.map((link) => link.beat()));
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
    for (const link of this.#leaving.keys()) this.#close(link);
    for (const link of this.links) link.close();
  }

  #drop(link: WorkerLink): void {
    this.#links.delete(link.address);
    this.#leaving.set(link, setTimeout(() => this.#close(link), LEAVING_MS).unref());
  }

  #close(link: WorkerLink): void {
    clearTimeout(this.#leaving.get(link));
    this.#leaving.delete(link);
    link.close();
  }
}
