import { execFileSync } from "node:child_process";
import { copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { DescService } from "@bufbuild/protobuf";
import { gate } from "@kvault/core/testing";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { isLoopback } from "./address.ts";
import { implement, type ServiceHandlers } from "./call.ts";
import { type ChannelOptions, openChannel } from "./channel.ts";
import { createClient } from "./client.ts";
import { type ServerOptions, startServer } from "./server.ts";
import { type Echo, echoService } from "./testing/index.ts";

const Service = echoService();
/** The poll is once a second. */
const RELOAD_MS = 1_500;

interface EchoClient {
  unary(request: Echo): Promise<Echo>;
  both(requests: AsyncIterable<Echo>): AsyncIterableIterator<Echo>;
}

let folder = "";
const open: (() => unknown)[] = [];

/** A key and a certificate for localhost, signed by `ca` (by itself when there is none). */
function certify(name: string, ca?: string, names = "DNS:localhost,IP:127.0.0.1"): void {
  const at = (file: string): string => join(folder, file);
  const openssl = (...args: string[]): void => void execFileSync("openssl", args, { stdio: "pipe" });
  const subject = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=${names}`];
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", at(`${name}.key`)];
  if (ca === undefined) openssl("req", "-x509", ...key, "-out", at(`${name}.crt`), "-days", "2", ...subject);
  else
    openssl(
      "req",
      "-x509",
      ...key,
      "-out",
      at(`${name}.crt`),
      "-days",
      "2",
      ...subject,
      "-CA",
      at(`${ca}.crt`),
      "-CAkey",
      at(`${ca}.key`),
    );
}

const file = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "kv-tls-"));
  for (const ca of ["ca", "ca2"]) certify(ca);
  certify("one", "ca");
  certify("two", "ca2");
  certify("client", "ca");
  certify("stranger", "ca2");
  return () => rm(folder, { recursive: true, force: true });
});
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function serve(options: Partial<ServerOptions>): Promise<string> {
  const handlers = {
    unary: async ({ text }: Echo): Promise<Echo> => ({ text: `<${text}>` }),
    async *both(requests: AsyncIterable<Echo>): AsyncGenerator<Echo> {
      for await (const { text } of requests) yield { text: `<${text}>` };
    },
    async *down(): AsyncGenerator<Echo> {},
    up: async (): Promise<Echo> => ({}),
  } as unknown as ServiceHandlers<DescService>;
  const server = await startServer({ address: "127.0.0.1:0", services: [implement(Service, handlers)], ...options });
  open.push(() => server.close({ drainMs: 0 }));
  return server.address;
}

function connect(address: string, options: ChannelOptions): EchoClient {
  const channel = openChannel(address, options);
  open.push(() => channel.close());
  return createClient(Service, channel) as unknown as EchoClient;
}

describe("plaintext", () => {
  test.each(["0.0.0.0:0", "[::]:0", "10.1.2.3:0", "db.example:7717"])("is refused on %s unless allowed", async (address) => {
    await expect(startServer({ address, services: [] })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      details: { field: "tls" },
    });
    expect(isLoopback(address)).toBe(false);
  });

  test.each(["127.0.0.1:7717", "localhost:1", "[::1]:1", "unix:/run/x.sock", "127.8.9.1:5"])("is served on %s", (address) => {
    expect(isLoopback(address)).toBe(true);
  });

  test("can be allowed in so many words", async () => {
    expect(await serve({ address: "0.0.0.0:0", allowPlaintext: true })).toMatch(/^0\.0\.0\.0:/);
  });

  test("a token is not sent where others can read it", () => {
    expect(() => openChannel("db.example:7717", { token: "kvt" })).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    openChannel("db.example:7717", { token: "kvt", tls: { ca: "" } }).close();
    openChannel("127.0.0.1:7717", { token: "kvt" }).close();
  });
});

describe("TLS from files", () => {
  test("peers that share a certificate are checked for its name, not for their address", async () => {
    certify("shared", "ca", "DNS:worker.kvault");
    const address = await serve({ tls: { certFile: file("shared.crt"), keyFile: file("shared.key") } });
    const tls = { caFile: file("ca.crt") };
    await expect(connect(address, { tls, serverName: "worker.kvault" }).unary({ text: "a" })).resolves.toMatchObject({
      text: "<a>",
    });
    await expect(connect(address, { tls }).unary({ text: "a" })).rejects.toMatchObject({ code: "UNREACHABLE" });
    await expect(connect(address, { tls, serverName: "other.kvault" }).unary({ text: "a" })).rejects.toMatchObject({
      code: "UNREACHABLE",
    });
  });

  test("a renewed certificate serves new connections, streams under way go on", async () => {
    await copyFile(file("one.crt"), file("server.crt"));
    await copyFile(file("one.key"), file("server.key"));
    const address = await serve({ tls: { certFile: file("server.crt"), keyFile: file("server.key") } });
    const before = connect(address, { tls: { caFile: file("ca.crt") } });
    const more = gate();
    const stream = before.both(
      (async function* () {
        yield { text: "a" };
        await more.passed;
        yield { text: "b" };
      })(),
    );
    expect((await stream.next()).value?.text).toBe("<a>");

    await copyFile(file("two.crt"), file("server.crt"));
    await sleep(RELOAD_MS);
    // Certificate and key do not fit yet: the old pair is still served.
    expect((await connect(address, { tls: { caFile: file("ca.crt") } }).unary({ text: "x" })).text).toBe("<x>");
    await copyFile(file("two.key"), file("server.key"));
    await sleep(RELOAD_MS);
    expect((await connect(address, { tls: { caFile: file("ca2.crt") } }).unary({ text: "y" })).text).toBe("<y>");
    await expect(connect(address, { tls: { caFile: file("ca.crt") } }).unary({ text: "z" })).rejects.toMatchObject({
      code: "UNREACHABLE",
    });

    more.pass();
    expect((await stream.next()).value?.text).toBe("<b>");
    expect((await stream.next()).done).toBe(true);
  });

  test("callers need a certificate of our authority where one is named", async () => {
    const address = await serve({ tls: { certFile: file("one.crt"), keyFile: file("one.key"), caFile: file("ca.crt") } });
    const as = (name: string): ChannelOptions => ({
      tls: { caFile: file("ca.crt"), certFile: file(`${name}.crt`), keyFile: file(`${name}.key`) },
    });
    expect((await connect(address, as("client")).unary({ text: "x" })).text).toBe("<x>");
    await expect(connect(address, as("stranger")).unary({})).rejects.toMatchObject({ code: "UNREACHABLE" });
    await expect(connect(address, { tls: { caFile: file("ca.crt") } }).unary({})).rejects.toMatchObject({ code: "UNREACHABLE" });
    await expect(connect(address, {}).unary({})).rejects.toMatchObject({ code: "UNREACHABLE" });
  });

  test("files that cannot be used are an error at the start", async () => {
    await writeFile(file("bad.crt"), "nonsense");
    for (const tls of [
      { certFile: file("bad.crt"), keyFile: file("one.key") },
      { certFile: file("one.crt") },
      { certFile: file("no"), keyFile: file("no") },
    ]) {
      await expect(startServer({ address: "127.0.0.1:0", services: [], tls })).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
      });
    }
  });
});
