import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ReadyEndpoints, type ReadyEndpointsOptions } from "./ready-endpoints.ts";

/**
 * What the API says, turn by turn: here are the turns that a healthy server does not take. A real
 * one is asked by tests/kubernetes.
 */
type Turn = (request: IncomingMessage, response: ServerResponse) => void;

let folder = "";
const open: (() => Promise<unknown> | unknown)[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "kv-account-"));
  await writeFile(join(folder, "token"), "first\n");
  await writeFile(join(folder, "namespace"), "shop");
});
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
  await rm(folder, { recursive: true, force: true });
});

const slice = (name: string, ready: Readonly<Record<string, boolean | undefined>>, more: object = {}): object => ({
  metadata: { name, resourceVersion: "7" },
  addressType: "IPv4",
  endpoints: Object.entries(ready).map(([address, isReady]) => ({ addresses: [address], conditions: { ready: isReady } })),
  ports: [{ name: "grpc", port: 7719 }],
  ...more,
});
const list =
  (...items: object[]): Turn =>
  (_, response) =>
    void response.end(JSON.stringify({ metadata: { resourceVersion: "5" }, items }));
/** A watch that stays open. */
const watch =
  (...events: object[]): Turn =>
  (_, response) =>
    void response.write(events.map((event) => `${JSON.stringify(event)}\n`).join("") || "\n");
const status =
  (code: number): Turn =>
  (_, response) => {
    response.statusCode = code;
    response.end();
  };

async function start(turns: readonly Turn[], options: Partial<ReadyEndpointsOptions> = {}) {
  const requests: { readonly path: string; readonly token: string | undefined }[] = [];
  const errors: unknown[] = [];
  const server = createServer((request, response) => {
    requests.push({ path: request.url ?? "", token: request.headers.authorization });
    (turns[requests.length - 1] ?? status(503))(request, response);
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  open.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const endpoints = new ReadyEndpoints({
    access: { apiUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, accountDir: folder },
    service: "decode",
    onChange: () => undefined,
    onError: (error) => errors.push(error),
    firstPauseMs: 1,
    ...options,
  });
  open.push(() => endpoints.close());
  const known = (): string[] | undefined => (endpoints.addresses === undefined ? undefined : [...endpoints.addresses].sort());
  return { endpoints, requests, errors, known };
}

test("those that are ready count, and those that do not say", async () => {
  const v6 = { addressType: "IPv6", endpoints: [{ addresses: ["fd00::1"] }], ports: [{ port: 1 }] };
  const { known, requests } = await start([
    list(slice("a", { "10.0.0.1": true, "10.0.0.2": false, "10.0.0.3": undefined }), slice("b", {}, v6)),
    watch(),
  ]);
  await vi.waitFor(() => expect(known()).toEqual(["10.0.0.1:7719", "10.0.0.3:7719", "[fd00::1]:1"]));
  expect(requests[0]?.path).toBe(
    "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Ddecode&limit=500",
  );
  expect(requests[0]?.token).toBe("Bearer first");
});

test("a list may come in pages, slices may have no endpoints and no ports", async () => {
  const page: Turn = (_, response) =>
    void response.end(
      JSON.stringify({ metadata: { resourceVersion: "5", continue: "n/x" }, items: [slice("a", { "10.0.0.1": true })] }),
    );
  const { known, requests } = await start([page, list(slice("b", {}, { endpoints: null, ports: null })), watch()]);
  await vi.waitFor(() => expect(known()).toEqual(["10.0.0.1:7719"]));
  expect(requests[1]?.path).toContain("&continue=n%2Fx");
});

test("changes are taken as they come; a watch that ends goes on where it was", async () => {
  let changes = 0;
  const ending: Turn = (_, response) =>
    void response.end(`${JSON.stringify({ type: "BOOKMARK", object: { metadata: { resourceVersion: "9" } } })}\n`);
  const { known, requests, errors } = await start(
    [
      list(slice("a", { "10.0.0.1": true })),
      ending,
      watch(
        { type: "ADDED", object: slice("b", { "10.0.0.2": true }) },
        { type: "MODIFIED", object: slice("a", { "10.0.0.1": false }) },
        { type: "DELETED", object: slice("c", {}) },
      ),
    ],
    {
      onChange: () => {
        changes++;
      },
    },
  );
  await vi.waitFor(() => expect(known()).toEqual(["10.0.0.2:7719"]));
  expect(requests[1]?.path).toContain("resourceVersion=5");
  expect(requests[2]?.path).toContain("resourceVersion=9");
  expect(changes).toBe(4);
  expect(errors).toEqual([]);
});

test.each([
  ["an event", watch({ type: "ERROR", object: { kind: "Status", code: 410 } })],
  ["a status", status(410)],
])("a version that is too old (%s): a new list, and nobody is told", async (_, tooOld) => {
  const { known, errors, requests } = await start([
    list(slice("a", {})),
    tooOld,
    list(slice("a", { "10.0.0.9": true })),
    watch(),
  ]);
  await vi.waitFor(() => expect(known()).toEqual(["10.0.0.9:7719"]));
  expect(errors).toEqual([]);
  expect(requests.map(({ path }) => path.includes("watch=1"))).toEqual([false, true, false, true]);
});

test("a refusal is told and tried again, with the token of then", async () => {
  const { known, errors, requests } = await start([
    (_, response) => void writeFile(join(folder, "token"), "second").then(() => status(403)(_, response)),
    list(slice("a", { "10.0.0.1": true })),
    watch(),
  ]);
  await vi.waitFor(() => expect(known()).toEqual(["10.0.0.1:7719"]));
  expect(errors).toHaveLength(1);
  expect(requests[1]?.token).toBe("Bearer second");
});

test.each([
  ["no JSON", "{"],
  ["another type of event", JSON.stringify({ type: "SURPRISE", object: {} })],
])("a watch that says %s is begun again from a list", async (_, text) => {
  const broken: Turn = (_request, response) => void response.end(`${text}\n`);
  const { known, errors } = await start([list(slice("a", {})), broken, list(slice("a", { "10.0.0.4": true })), watch()]);
  await vi.waitFor(() => expect(known()).toEqual(["10.0.0.4:7719"]));
  expect(errors).toHaveLength(1);
});

test("what was known counts for a while when the API goes away, then nothing is known", async () => {
  let breakOff: () => void = () => undefined;
  const watched: Turn = (_, response) => {
    response.write("\n");
    breakOff = () => response.destroy();
  };
  const { known, errors } = await start([list(slice("a", { "10.0.0.1": true })), watched], { staleMs: 150 });
  await vi.waitFor(() => expect(known()).toEqual(["10.0.0.1:7719"]));
  await vi.waitFor(() => {
    breakOff();
    expect(errors.length).toBeGreaterThan(0);
  });
  expect(known()).toEqual(["10.0.0.1:7719"]);
  await vi.waitFor(() => expect(known()).toBeUndefined());
});

test("an API that was never reached says nothing; closing does not wait for it", async () => {
  const { known, endpoints, errors } = await start([]);
  await vi.waitFor(() => expect(errors.length).toBeGreaterThan(0));
  expect(known()).toBeUndefined();
  await endpoints.close();
});
