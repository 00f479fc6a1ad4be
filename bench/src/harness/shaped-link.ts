/**
 * A link of a given rate: a proxy before a server, in a process of its own, that lets no more
 * bytes to the client than the link would carry. One link is shared by all connections, as a
 * network card is. Runs as the process when it is the entry, is started by {@link openShapedLink}.
 *
 * @module
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { fileURLToPath } from "node:url";

const ENTRY = fileURLToPath(import.meta.url);

/** What may pass ahead of the rate: timers are no finer than a millisecond. */
const BURST_MS = 4;

export interface ShapedLink {
  readonly port: number;
  close(): Promise<void>;
}

export async function openShapedLink(targetPort: number, bitsPerSecond: number): Promise<ShapedLink> {
  const child = fork(ENTRY, [String(targetPort), String(bitsPerSecond)]);
  const [port] = (await once(child, "message")) as [number];
  return {
    port,
    async close() {
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
    },
  };
}

function serve(targetPort: number, bytesPerMs: number): void {
  /** When the link has carried what was given to it so far. */
  let freeAtMs = 0;
  const server = net.createServer((client) => {
    const target = net.connect(targetPort, "127.0.0.1");
    client.pipe(target);
    target.on("data", (bytes: Buffer) => {
      const nowMs = performance.now();
      freeAtMs = Math.max(freeAtMs, nowMs) + bytes.length / bytesPerMs;
      client.write(bytes);
      if (freeAtMs - nowMs < BURST_MS) return;
      target.pause();
      setTimeout(() => target.resume(), freeAtMs - nowMs);
    });
    for (const [one, other] of [
      [client, target],
      [target, client],
    ] as const) {
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
  });
  server.listen(0, "127.0.0.1", () => process.send?.((server.address() as net.AddressInfo).port));
}

if (process.argv[1] === ENTRY) {
  process.on("disconnect", () => process.exit(0));
  serve(Number(process.argv[2]), Number(process.argv[3]) / 8_000);
}
