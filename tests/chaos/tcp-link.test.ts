import { once } from "node:events";
import net from "node:net";
import { createRng } from "@kvault/core";
import { expect, test } from "vitest";
import { TcpLink } from "./tcp-link.ts";

test("bytes come in the order in which they were sent, however the delay changes meanwhile", async () => {
  const received: Buffer[] = [];
  const server = net.createServer((socket) => socket.on("data", (bytes) => received.push(bytes)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const link = await TcpLink.open("wire", (server.address() as net.AddressInfo).port);
  const socket = net.connect({ host: "127.0.0.1", port: link.port, noDelay: true });
  await once(socket, "connect");
  const rng = createRng(1);
  const sent: Buffer[] = [];
  for (let i = 0; i < 400; i++) {
    if (rng.below(4) === 0) link.slow(rng.below(8));
    if (rng.below(8) === 0) link.heal();
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(i);
    sent.push(bytes);
    socket.write(bytes);
    if (rng.below(2) === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  const all = Buffer.concat(sent);
  await expect.poll(() => Buffer.concat(received).length, { timeout: 5_000 }).toBe(all.length);
  expect(Buffer.concat(received).equals(all)).toBe(true);
  socket.destroy();
  await link.close();
  server.close();
});
