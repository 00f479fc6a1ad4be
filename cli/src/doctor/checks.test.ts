import { mkdtemp, readdir, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { look } from "./check.ts";
import { gatewayCheck, modelsCheck, nodeCheck, queueCheck, registryCheck, storeCheck, tlsCheck } from "./checks.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "kvault-doctor-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test.each([
  ["v20.19.0", "ok"],
  ["v22.1.0", "ok"],
  ["v20.18.3", "failed"],
  ["v18.20.0", "failed"],
])("node %s: %s", async (version, status) => {
  expect(await look(nodeCheck(version))).toMatchObject({ name: "node", status });
});

test("a store that works is left as it was", async () => {
  expect(await look(storeCheck(`file:${folder}/store`))).toMatchObject({ status: "ok", todo: "" });
  const left = await readdir(folder, { recursive: true, withFileTypes: true });
  expect(left.filter((entry) => entry.isFile()).map(({ name }) => name)).toEqual([]);
});

test.each([
  ["a folder nobody may make", "file:/proc/kvault"],
  ["another scheme", "ftp://host"],
])("a store that does not work fails with what to do: %s", async (_, url) => {
  const finding = await look(storeCheck(url));
  expect(finding).toMatchObject({ status: "failed", todo: expect.stringContaining("KVAULT_STORE_URL") });
});

test("no model is a warning, not a failure", async () => {
  expect(await look(modelsCheck(folder))).toMatchObject({
    status: "warning",
    todo: expect.stringContaining("kvault model pull"),
  });
});

test("queue and registry of one process need nothing; a Redis that is not there fails", async () => {
  expect(await look(queueCheck("local:"))).toMatchObject({ status: "ok" });
  expect(await look(registryCheck("memory:"))).toMatchObject({ status: "ok" });
  expect(await look(queueCheck("redis://127.0.0.1:1/0"), 1_000)).toMatchObject({ status: "failed" });
});

test("a certificate without its key fails", async () => {
  expect(await look(tlsCheck({}, Date.now()))).toMatchObject({ status: "ok" });
  expect(await look(tlsCheck({ certFile: "/a.pem" }, Date.now()))).toMatchObject({ status: "failed" });
  expect(await look(tlsCheck({ certFile: "/nowhere/a.pem", keyFile: "/nowhere/b.pem" }, Date.now()))).toMatchObject({
    status: "failed",
    found: expect.stringContaining("/nowhere/a.pem"),
  });
});

test("a port that something else has is told apart from one that is free", async () => {
  const server = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as { port: number };
  const taken = await look(gatewayCheck({ address: `127.0.0.1:${port}` }));
  await new Promise((resolve) => server.close(resolve));
  const free = await look(gatewayCheck({ address: `127.0.0.1:${port}` }));
  expect([taken.status, free.status]).toEqual(["failed", "failed"]);
  expect(taken.found).toContain("something else");
  expect(free.found).toContain("nothing");
});

test("a check that hangs is a failure in time", async () => {
  const hanging = { name: "slow", todo: "Wait.", run: () => new Promise<never>(() => undefined) };
  expect(await look(hanging, 20)).toMatchObject({ status: "failed", found: "no answer in 0.02 s", todo: "Wait." });
});
