/** Certificates, their renewal, and tokens, as a client sees them. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Context_State, type RunningServer } from "@kvault/rpc";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ClientOptions, openClient } from "./client.ts";
import type { Context } from "./context.ts";
import { startScripted } from "./testing/scripted-gateway.ts";

const NAME = `contexts/c${"0".repeat(32)}`;
const ONCE = { retry: { maxAttempts: 1 } };

let folder = "";
let server: RunningServer;
const at = (file: string): string => join(folder, file);

/** A key and a certificate for this machine, signed by `ca`, or by itself. */
function certify(name: string, ca?: string): void {
  const signer = ca === undefined ? [] : ["-CA", at(`${ca}.crt`), "-CAkey", at(`${ca}.key`)];
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", at(`${name}.key`)];
  const subject = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"];
  execFileSync("openssl", ["req", "-x509", ...key, "-out", at(`${name}.crt`), ...subject, ...signer], { stdio: "pipe" });
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "kvault-client-tls-"));
  certify("ca");
  certify("server", "ca");
  certify("client", "ca");
  certify("stranger");
  const getContext = async () => ({ name: NAME, state: Context_State.ACTIVE });
  const tls = { certFile: at("server.crt"), keyFile: at("server.key"), caFile: at("ca.crt") };
  server = await startScripted({ contexts: { getContext } }, { address: "127.0.0.1:0", tls });
});
afterAll(async () => {
  await server.close({ drainMs: 0 });
  rmSync(folder, { recursive: true, force: true });
});

async function ask(options: ClientOptions): Promise<Context> {
  const client = openClient(server.address, { ...ONCE, ...options });
  try {
    return await client.contexts.get(NAME, { timeoutMs: 10_000 });
  } finally {
    client.close();
  }
}

describe("mutual TLS", () => {
  const pem = (file: string): string => readFileSync(at(file), "utf8");
  test("from files and from texts", async () => {
    const files = { caFile: at("ca.crt"), certFile: at("client.crt"), keyFile: at("client.key") };
    expect(await ask({ tls: files })).toMatchObject({ state: "ACTIVE" });
    const texts = { ca: pem("ca.crt"), cert: pem("client.crt"), key: pem("client.key") };
    expect(await ask({ tls: texts, token: "kvt_0_0" })).toMatchObject({ state: "ACTIVE" });
  });
  test("a stranger is not let in, a stranger's server is not trusted, plain text is not understood", async () => {
    const stranger = { ca: pem("ca.crt"), cert: pem("stranger.crt"), key: pem("stranger.key") };
    for (const options of [{ tls: stranger }, { tls: { ca: pem("stranger.crt") } }, {}]) {
      await expect(ask(options)).rejects.toMatchObject({ code: "UNREACHABLE" });
    }
  });
});

test("a token does not go over plaintext that others can read", () => {
  expect(() => openClient("192.0.2.1:7717", { token: "kvt_0_0" })).toThrow("without TLS");
  openClient("192.0.2.1:7717", { token: "kvt_0_0", allowPlaintext: true }).close();
});
