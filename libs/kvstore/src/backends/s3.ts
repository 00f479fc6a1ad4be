/**
 * A store in a bucket: one object per value, below a prefix.
 *
 * The server must refuse a second put with `If-None-Match: *` (AWS does since 2024, and so do
 * versitygw, MinIO and Ceph): "exactly one writer wins" rests on it. Age and size of a value are
 * read through a listing of one key, which tells a missing bucket or right from a missing value,
 * as the bodiless answer to HEAD cannot.
 *
 * @module
 */
import { invalidArgument, KvaultError } from "@kvault/core";
import type { BlobStat, BlobStore, CallOptions, PutOptions, StoreAbilities } from "../blob-store.ts";
import { checkedStore } from "../checked-store.ts";
import { numberSetting, parseStoreUrl } from "../store-url.ts";
import type { S3Client } from "./s3-client.ts";
import { createS3SdkClient } from "./s3-sdk-client.ts";

/** Keys in one answer of a listing; S3 gives no more. */
const PAGE_KEYS = 1_000;
const DEFAULT_TIMEOUT_MS = 30_000;

/**
 * Opens `s3://bucket[/prefix][?endpoint=http://…&region=us-east-1&timeoutMs=30000]`, credentials
 * from where the AWS SDK looks for them. STORE_FORBIDDEN when they are refused or missing,
 * STORE_UNAVAILABLE when the bucket cannot be reached or is not there.
 */
export async function openS3Store(url: string): Promise<BlobStore> {
  const parsed = parseStoreUrl(url, ["endpoint", "region", "timeoutMs"]);
  const bucket = parsed.hostname;
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket)) {
    throw invalidArgument("storeUrl", `Cannot open S3 store: "${bucket.slice(0, 80)}" is not a bucket name`);
  }
  if (parsed.username !== "" || parsed.password !== "") {
    throw invalidArgument("storeUrl", "Cannot open S3 store: credentials belong in the environment, not in the URL");
  }
  const folder = parsed.pathname.replace(/^\/|\/$/g, "");
  if (!/^([A-Za-z0-9._-]{1,200}(\/(?!$)|$))*$/.test(folder)) {
    throw invalidArgument(
      "storeUrl",
      `Cannot open S3 store: prefix "${folder.slice(0, 80)}" is not folders of A-Z a-z 0-9 . _ -`,
    );
  }
  const endpoint = parsed.searchParams.get("endpoint") ?? undefined;
  if (endpoint !== undefined && !/^https?:\/\//.test(endpoint)) {
    throw invalidArgument("storeUrl", "Cannot open S3 store: the endpoint is not an http:// or https:// URL");
  }
  const client = createS3SdkClient({
    bucket,
    endpoint,
    region: parsed.searchParams.get("region") ?? "us-east-1",
    timeoutMs: numberSetting(parsed, "timeoutMs", DEFAULT_TIMEOUT_MS, [1, 600_000]),
  });
  try {
    const prefix = folder === "" ? "" : `${folder}/`;
    await client.list(prefix, "", 1);
    return checkedStore(new S3Store(client, prefix));
  } catch (error) {
    client.close();
    throw error;
  }
}

class S3Store implements BlobStore {
  readonly abilities: StoreAbilities = { durable: true, shared: true };
  readonly #client: S3Client;
  readonly #prefix: string;

  constructor(client: S3Client, prefix: string) {
    this.#client = client;
    this.#prefix = prefix;
  }

  async put(key: string, bytes: Uint8Array, { ifAbsent = false, signal }: PutOptions = {}): Promise<void> {
    // Saves sending a value that cannot win; the server decides.
    if (ifAbsent && (await this.stat(key, { signal })) !== undefined) {
      throw new KvaultError("STORE_EXISTS", `Cannot put "${key}": the key is taken`, { details: { key } });
    }
    await this.#client.put(this.#prefix + key, bytes, { ifAbsent, signal });
  }

  get(key: string, { signal }: CallOptions = {}): Promise<Uint8Array> {
    return this.#client.get(this.#prefix + key, signal);
  }

  async stat(key: string, { signal }: CallOptions = {}): Promise<BlobStat | undefined> {
    // Of all keys that begin so, the key itself comes first.
    const [first] = await this.#client.list(this.#prefix + key, "", 1, signal);
    if (first?.key !== this.#prefix + key) return undefined;
    const { bytes, modifiedMs } = first;
    return { bytes, ...(modifiedMs === undefined ? {} : { modifiedMs }) };
  }

  delete(key: string, { signal }: CallOptions = {}): Promise<void> {
    return this.#client.delete(this.#prefix + key, signal);
  }

  async *list(prefix: string, { signal }: CallOptions = {}): AsyncGenerator<string> {
    for (let after = ""; ; ) {
      const page = await this.#client.list(this.#prefix + prefix, after, PAGE_KEYS, signal);
      for (const { key } of page) yield key.slice(this.#prefix.length);
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE_KEYS) return;
      after = last.key;
    }
  }

  async close(): Promise<void> {
    this.#client.close();
  }
}
