/**
 * One wire of the cluster: a TCP proxy that passes bytes as they come, and can be told to pass
 * them late, not at all for a while, or to drop every connection. What a partition holds back is
 * passed on when it is over, as TCP would.
 *
 * @module
 */
import { once } from "node:events";
import net from "node:net";

interface Pair {
  readonly near: net.Socket;
  far: net.Socket | undefined;
}

export class TcpLink {
  readonly name: string;
  readonly #targetPort: number;
  readonly #server: net.Server;
  readonly #pairs = new Set<Pair>();
  #cut = false;
  #delayMs = 0;

  private constructor(name: string, targetPort: number) {
    this.name = name;
    this.#targetPort = targetPort;
    this.#server = net.createServer({ pauseOnConnect: true, noDelay: true }, (near) => this.#accept(near));
  }

  static async open(name: string, targetPort: number): Promise<TcpLink> {
    const link = new TcpLink(name, targetPort);
    link.#server.listen(0, "127.0.0.1");
    await once(link.#server, "listening");
    return link;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** From now on nothing passes, in either direction; connections are taken and stay silent. */
  cut(): void {
    this.#cut = true;
    for (const { near, far } of this.#pairs) {
      near.pause();
      far?.pause();
    }
  }

  /** Every byte comes `ms` later. */
  slow(ms: number): void {
    this.#delayMs = ms;
  }

  /** Ends every connection at once. */
  drop(): void {
    for (const { near, far } of this.#pairs) {
      near.destroy();
      far?.destroy();
    }
  }

  /** As if nothing had been. */
  heal(): void {
    this.#cut = false;
    this.#delayMs = 0;
    for (const pair of this.#pairs) {
      if (pair.far === undefined) this.#connect(pair);
      pair.near.resume();
      pair.far?.resume();
    }
  }

  async close(): Promise<void> {
    this.drop();
    this.#server.close();
    await once(this.#server, "close");
  }

  #accept(near: net.Socket): void {
    const pair: Pair = { near, far: undefined };
    this.#pairs.add(pair);
    near.on("error", () => undefined);
    near.once("close", () => {
      this.#pairs.delete(pair);
      pair.far?.destroy();
    });
    if (!this.#cut) this.#connect(pair);
  }

  #connect(pair: Pair): void {
    const { near } = pair;
    const far = net.connect({ host: "127.0.0.1", port: this.#targetPort, noDelay: true });
    pair.far = far;
    far.on("error", () => undefined);
    far.once("close", () => near.destroy());
    this.#pass(near, far);
    this.#pass(far, near);
    if (this.#cut) far.pause();
    else near.resume();
  }

  #pass(from: net.Socket, to: net.Socket): void {
    // One timer for what comes first: timers of their own overtake each other, and TCP never does.
    const waiting: { readonly dueMs: number; readonly act: () => void }[] = [];
    let isTimed = false;
    const passDue = (): void => {
      isTimed = false;
      for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
        const leftMs = first.dueMs - performance.now();
        if (leftMs > 0) {
          isTimed = true;
          setTimeout(passDue, leftMs);
          return;
        }
        waiting.shift();
        first.act();
      }
    };
    const later = (act: () => void): void => {
      waiting.push({ dueMs: performance.now() + this.#delayMs, act });
      if (!isTimed) passDue();
    };
    from.on("data", (bytes) => {
      later(() => {
        if (to.destroyed || to.write(bytes)) return;
        from.pause();
        to.once("drain", () => {
          if (!this.#cut) from.resume();
        });
      });
    });
    from.once("end", () => later(() => to.end()));
  }
}
