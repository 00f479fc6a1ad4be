import { isKvaultError } from "@kvault/core";
import { failureOf } from "@kvault/core/testing";
import {
  type BlobStore,
  contentSha256,
  contextDigest,
  contextIdOf,
  createMasterKeyLine,
  KeyRing,
  openMemoryStore,
  parseMasterKeys,
  partKey,
  readManifest,
  resealRecords,
  rotateTenantKey,
  saltedContent,
  shredTenantKey,
} from "@kvault/kvstore";
import { afterEach, describe, expect, test } from "vitest";
import { toyBuild, toyLoad, toyQuery } from "../testing/toy-requests.ts";
import { createToyRunner, makeToyResident } from "../testing/toy-runner.ts";
import { createEngineCore } from "./core.ts";
import type { EngineMethod, RequestOf, ResultOf } from "./messages.ts";
import type { EngineCore } from "./serve.ts";

const TEXT = "The vault's combination is 7193; nobody may write it down. ".repeat(8);
const SPEC = "l2norm|uniform|top-k(keep=0.5)|f32";
const MASTERS = parseMasterKeys(createMasterKeyLine("test"));
const cores: EngineCore[] = [];

afterEach(async () => {
  for (const core of cores.splice(0)) await core.close();
});

/** An engine over `store`, with or without the master keys. */
function engine(
  store: BlobStore,
  withKeys = true,
): <M extends EngineMethod>(method: M, request: RequestOf<M>) => Promise<ResultOf<M>> {
  const core = createEngineCore({
    store,
    keys: new KeyRing(store, withKeys ? MASTERS : undefined),
    openModel: async () => createToyRunner(),
    makeResident: makeToyResident,
    residentBytes: 64 * 1024 * 1024,
    lostContextIds: [],
  });
  cores.push(core);
  return (method, request) => {
    const call = { signal: new AbortController().signal, emit: () => undefined, proceed: Promise.resolve(), waitedMs: 0 };
    return core.handlers[method](request, call);
  };
}

async function partsOf(store: BlobStore, contextId: string): Promise<Uint8Array[]> {
  const manifest = await readManifest(store, contextId);
  const refs = manifest.layers.flatMap(({ parts }) => parts);
  return Promise.all(refs.map(({ sha256 }) => store.get(partKey(contextId, sha256))));
}

describe("an engine with master keys", () => {
  test("stores parts that nobody can read without them, and answers from them as from plain ones", async () => {
    const [plain, sealed] = [openMemoryStore(), openMemoryStore()];
    const request = toyBuild(TEXT, SPEC);
    await engine(plain, false)("build", request);
    const { manifest } = await engine(sealed)("build", request);
    expect(manifest.encryption).toBe("aes-256-gcm/1");
    expect((await readManifest(plain, request.contextId)).encryption).toBeUndefined();
    for (const part of await partsOf(sealed, request.contextId)) expect(Buffer.from(part).includes("offsets")).toBe(false);
    for (const part of await partsOf(plain, request.contextId)) expect(Buffer.from(part).includes("offsets")).toBe(true);

    const question = toyQuery(request, "which number?");
    const answer = await engine(sealed)("query", question);
    expect(answer.text).toBe((await engine(plain, false)("query", question)).text);
  });

  test("still reads records that were made before it had them", async () => {
    const store = openMemoryStore();
    const request = toyBuild(TEXT, SPEC);
    await engine(store, false)("build", request);
    await engine(store)("load", toyLoad(request));
  });

  test("is told by name that a record is encrypted when another engine has no keys", async () => {
    const store = openMemoryStore();
    const request = toyBuild(TEXT, SPEC);
    await engine(store)("build", request);
    expect((await failureOf(engine(store, false)("load", toyLoad(request)))).code).toBe("STORE_FORBIDDEN");
  });

  test("reads a record whose parts are sealed anew between its manifest and them", async () => {
    const store = openMemoryStore();
    const request = toyBuild(TEXT, SPEC);
    await engine(store)("build", request);
    await rotateTenantKey(store, request.tenant, MASTERS);
    let resealed = 0;
    const overtaken = new Proxy(store, {
      get(target, key) {
        const value = Reflect.get(target, key) as unknown;
        if (typeof value !== "function") return value;
        if (key !== "get") return value.bind(target);
        return async (name: string) => {
          if (name.endsWith(".safetensors") && resealed++ === 0) {
            const alone = (_: string, work: () => Promise<void>): Promise<void> => work();
            await resealRecords(store, request.tenant, MASTERS, { alone, unread: async () => undefined, retireAfterMs: 0 });
          }
          return target.get(name);
        };
      },
    });
    const question = toyQuery(request, "which number?");
    expect((await engine(overtaken)("query", question)).text).toBe((await engine(store)("query", question)).text);
    expect(resealed).toBeGreaterThan(1);
  });

  test("neither reads nor builds for a tenant that was deleted", async () => {
    const store = openMemoryStore();
    const request = toyBuild(TEXT, SPEC);
    await engine(store)("build", request);
    await shredTenantKey(store, request.tenant);
    const fresh = engine(store);
    expect((await failureOf(fresh("load", toyLoad(request)))).code).toBe("STORE_FORBIDDEN");
    expect((await failureOf(fresh("build", toyBuild(`${TEXT} More.`, SPEC)))).code).toBe("STORE_FORBIDDEN");
  });

  test("refuses parts that changed places", async () => {
    const store = openMemoryStore();
    const request = toyBuild(TEXT, SPEC);
    const { manifest } = await engine(store)("build", request);
    const [first, second] = manifest.layers;
    const [a, b] = [first?.parts[0]?.sha256 ?? "", second?.parts[0]?.sha256 ?? ""];
    const bytes = await store.get(partKey(request.contextId, b));
    await store.put(partKey(request.contextId, a), bytes);
    expect((await failureOf(engine(store)("load", toyLoad(request)))).code).toBe("CACHE_CORRUPT");
  });
});

describe("a build for a tenant with a salt", () => {
  test("has a digest and a content of its own, and keeps the salt out of the record", async () => {
    const store = openMemoryStore();
    const plain = toyBuild(TEXT, SPEC);
    const tenantSalt = "5a".repeat(32);
    const { manifest } = await engine(store, false)("build", plain);
    const salted = saltedContent(contentSha256(plain.content), tenantSalt);
    const digest = contextDigest({ ...manifest.identity, ...salted });
    const ours = { tenant: "acme", tenantSalt, contentSha256: salted.contentSha256 };
    const request = { ...plain, ...ours, digest, contextId: contextIdOf(digest) };
    const made = (await engine(store, false)("build", request)).manifest;
    expect(made.contextId).not.toBe(manifest.contextId);
    expect(made.identity.contentSha256).not.toBe(manifest.identity.contentSha256);
    expect(made.tenant).toBe("acme");
    expect(JSON.stringify(made)).not.toContain(tenantSalt);
    expect(JSON.stringify(made)).not.toContain(manifest.identity.contentSha256);
    const wrongSalt = engine(openMemoryStore(), false)("build", { ...request, tenantSalt: "00".repeat(32) });
    expect(isKvaultError(await failureOf(wrongSalt), "INVALID_ARGUMENT")).toBe(true);
  });
});
