/** /v1/contexts with plain fetch: the messages are the gRPC API's, as JSON. */
import { KvaultError } from "@kvault/core";
import { gate } from "@kvault/core/testing";
import { afterEach, describe, expect, test } from "vitest";
import { quickBuild, type WorkerScript } from "../testing/fake-worker.ts";
import { closeAll, MODEL, type Stack, startStack } from "../testing/stack.ts";
import { startHttp } from "./start-http.ts";

afterEach(closeAll);

const HTTP = { httpAddress: "127.0.0.1:0" } as const;

interface Json {
  readonly [key: string]: unknown;
}

async function call({ gateway }: Stack, path: string, init: RequestInit = {}): Promise<{ status: number; body: Json }> {
  const response = await fetch(`http://${gateway.httpAddress}${path}`, init);
  const text = await response.text();
  return { status: response.status, body: text === "" ? {} : JSON.parse(text) };
}

const post = (body: unknown): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body),
});

async function untilActive(stack: Stack, name: unknown): Promise<Json> {
  await expect.poll(async () => (await call(stack, `/v1/${name}`)).body["state"]).toBe("STATE_ACTIVE");
  return (await call(stack, `/v1/${name}`)).body;
}

describe("/v1/contexts", () => {
  test("creates, gets, lists and deletes", async () => {
    const stack = await startStack({}, HTTP);
    const made = await call(stack, "/v1/contexts", post({ model: MODEL, content: { text: "Text." }, display_name: "a deed" }));
    expect(made).toMatchObject({ status: 202, body: { model: MODEL, display_name: "a deed" } });
    const { name } = made.body;
    expect(await untilActive(stack, name)).toMatchObject({ name, report: { kept_pairs: "100" } });
    expect((await call(stack, "/v1/contexts?page_size=5")).body).toMatchObject({ contexts: [{ name }] });
    const named = { ...post({ display_name: "the deed", pinned: true }), method: "PATCH" };
    expect(await call(stack, `/v1/${name}`, named)).toMatchObject({
      status: 200,
      body: { display_name: "the deed", pinned: true },
    });
    const gone = (query: string): Promise<{ status: number; body: Json }> =>
      call(stack, `/v1/${name}?${query}`, { method: "DELETE" });
    expect(await gone("")).toMatchObject({ status: 409, body: { error: { code: "CONTEXT_PINNED" } } });
    expect((await gone("force=true")).status).toBe(204);
    expect((await call(stack, `/v1/${name}`)).body).toMatchObject({ state: "STATE_DELETED" });
    expect((await call(stack, `/v1/${name}/undelete`, { method: "POST" })).body).toMatchObject({ state: "STATE_ACTIVE" });
    expect((await gone("force=true&purge=true")).status).toBe(204);
    expect(await call(stack, `/v1/${name}`)).toMatchObject({ status: 404, body: { error: { code: "CONTEXT_NOT_FOUND" } } });
  });

  test("takes a text as the body itself, and finds it is the same context", async () => {
    const stack = await startStack({}, HTTP);
    const asJson = await call(
      stack,
      "/v1/contexts",
      post({ model: MODEL, content: { text: "Grüße." }, compression: { spec: "kvzip", keep_ratio: 0.5 } }),
    );
    const headers = { "content-type": "text/plain" };
    const query = `model=${MODEL}&spec=kvzip&keep_ratio=0.5&ttl=3600s`;
    const asText = await call(stack, `/v1/contexts?${query}`, { method: "POST", headers, body: "Grüße." });
    expect(asText).toMatchObject({ status: 202, body: { name: asJson.body["name"] } });
  });

  test("streams every change of a build until it is over", async () => {
    const proceed = gate();
    const stack = await startStack(
      {
        prefill: [
          {
            async *build() {
              await proceed.passed;
              yield* quickBuild();
            },
          },
        ],
      },
      HTTP,
    );
    const made = await call(stack, "/v1/contexts", post({ model: MODEL, content: { text: "Text." } }));
    const response = await fetch(`http://${stack.gateway.httpAddress}/v1/${made.body["name"]}/events`);
    expect(response.headers.get("content-type")).toContain("text/event-stream");
    proceed.pass();
    const states: string[] = [];
    const decoder = new TextDecoder();
    for await (const piece of response.body ?? []) {
      for (const [, state] of decoder.decode(piece as Uint8Array).matchAll(/"state":"(\w+)"/g)) states.push(state ?? "");
      if (states.includes("STATE_ACTIVE")) break;
    }
    expect(states[0]).toBe("STATE_CREATING");
    expect(states.at(-1)).toBe("STATE_ACTIVE");
  });

  test("says why a build failed, as google.rpc.Status", async () => {
    const broken: WorkerScript = {
      // biome-ignore lint/correctness/useYield: it fails before it says anything
      async *build() {
        throw new KvaultError("TOKEN_LIMIT", "Cannot read context: too long", { details: { tokens: 9 } });
      },
    };
    const stack = await startStack({ prefill: [broken] }, HTTP);
    const { body } = await call(stack, "/v1/contexts", post({ model: MODEL, content: { text: "Text." } }));
    await expect.poll(async () => (await call(stack, `/v1/${body["name"]}`)).body["state"]).toBe("STATE_FAILED");
    expect((await call(stack, `/v1/${body["name"]}`)).body["error"]).toMatchObject({
      message: "Cannot read context: too long",
      details: expect.arrayContaining([expect.objectContaining({ reason: "TOKEN_LIMIT" })]),
    });
  });

  test("lists by state, names with or without their prefix", async () => {
    const stack = await startStack({}, HTTP);
    const { body } = await call(stack, "/v1/contexts", post({ model: MODEL, content: { text: "Text." } }));
    await untilActive(stack, body["name"]);
    await call(stack, `/v1/${body["name"]}`, { method: "DELETE" });
    expect((await call(stack, "/v1/contexts")).body).toEqual({});
    const listed = await call(stack, "/v1/contexts?states=active,STATE_DELETED");
    expect(listed.body).toMatchObject({ contexts: [{ name: body["name"], state: "STATE_DELETED" }] });
  });

  test("tells which pairs were kept; of the text when it comes along, with its identity for the worker to check", async () => {
    const stack = await startStack({}, HTTP);
    const { body } = await call(stack, "/v1/contexts", post({ model: MODEL, content: { text: "Text." } }));
    await untilActive(stack, body["name"]);
    const plain = await call(stack, `/v1/${body["name"]}/kept?max_bins=2&layer=0&kv_head=1`);
    expect(plain).toMatchObject({
      status: 200,
      body: { prefix_tokens: 3, rows: [{ layer: 0, kept_per_bin: [4, 1] }], text: [] },
    });
    const shown = await call(stack, `/v1/${body["name"]}/kept`, post({ content: { text: "Text." } }));
    expect(shown.body).toMatchObject({ text: [{ text: "Text.", tokens: 5, kept_pairs: 2 }] });
    const [first, second] = stack.decode[0]?.inspects ?? [];
    expect(first).toMatchObject({ maxBins: 2, layer: 0, kvHead: 1, contentSha256: "" });
    expect(second?.contentSha256).toBe(stack.prefill[0]?.builds[0]?.contentSha256);
    expect(second?.maxBins).toBeGreaterThan(0);
    const tooMany = await call(stack, `/v1/${body["name"]}/kept?max_bins=5000`);
    expect(tooMany).toMatchObject({ status: 400, body: { error: { param: "max_bins" } } });
  });

  test.each<[string, string, RequestInit]>([
    ["body", "/v1/contexts", post({ model: MODEL, no_such_field: 1 })],
    ["body", "/v1/contexts", post({ model: 7 })],
    ["body", "/v1/contexts", { method: "POST", headers: { "content-type": "application/json" }, body: "{" }],
    ["content", "/v1/contexts", post({ model: MODEL })],
    ["body", "/v1/contexts", { method: "POST", headers: { "content-type": "image/png" }, body: "x" }],
    ["ttl", `/v1/contexts?model=${MODEL}&ttl=1h`, { method: "POST", headers: { "content-type": "text/plain" }, body: "x" }],
    ["page_size", "/v1/contexts?page_size=x", {}],
    ["states.0", "/v1/contexts?states=sleeping", {}],
    ["layer", "/v1/contexts/c1/kept?layer=-1", {}],
    ["name", "/v1/contexts/nonsense", {}],
  ])("refuses a bad %s (%#)", async (param, path, init) => {
    const stack = await startStack({}, HTTP);
    expect(await call(stack, path, init)).toMatchObject({
      status: 400,
      body: { error: { param, type: "invalid_request_error" } },
    });
  });

  test("an unknown path is 404, and every reply has a request id", async () => {
    const stack = await startStack({}, HTTP);
    const response = await fetch(`http://${stack.gateway.httpAddress}/v2`, { headers: { "x-request-id": "mine-1" } });
    expect(response.status).toBe(404);
    expect(response.headers.get("x-request-id")).toBe("mine-1");
  });

  test("a stopping gateway lets a stream end and takes no more", async () => {
    const proceed = gate();
    const stack = await startStack(
      {
        decode: [
          {
            async *execute() {
              yield { event: { case: "delta", value: { text: "a", tokenIds: [1] } } };
              await proceed.passed;
              yield { event: { case: "answer", value: { text: "a" } } };
            },
          },
        ],
      },
      HTTP,
    );
    const ask = post({ model: MODEL, messages: [{ role: "user", content: "What?" }], stream: true });
    const response = await fetch(`http://${stack.gateway.httpAddress}/v1/chat/completions`, ask);
    const closed = stack.gateway.close({ drainMs: 5_000 });
    await expect
      .poll(() =>
        fetch(`http://${stack.gateway.httpAddress}/health`).then(
          () => "taken",
          () => "refused",
        ),
      )
      .toBe("refused");
    proceed.pass();
    expect(await response.text()).toContain("[DONE]");
    await closed;
  });
});

test("/v1/workers tells who there is and how busy", async () => {
  const stack = await startStack({}, HTTP);
  await expect.poll(async () => JSON.stringify((await call(stack, "/v1/workers")).body)).toContain('"live":true');
  const { workers } = (await call(stack, "/v1/workers")).body as { workers: object[] };
  expect(workers).toMatchObject([
    { role: "ROLE_PREFILL", running_builds: 0 },
    { role: "ROLE_DECODE", running_queries: 0, resident_bytes: "0" },
  ]);
});

describe("startHttp()", () => {
  const clients = () => {
    throw new Error("unused");
  };

  test.each([
    ["0.0.0.0:0", "tls"],
    ["nowhere", "address"],
    ["127.0.0.1:99999", "address"],
  ])("refuses to listen on %s", async (address, field) => {
    await expect(startHttp({ address, clients })).rejects.toMatchObject({ code: "INVALID_ARGUMENT", details: { field } });
  });
});
