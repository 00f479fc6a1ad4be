/**
 * The four calls on the AWS SDK: deadlines, retries within a budget, multipart, and bodies that
 * are checked against the length their writer noted.
 *
 * A put whose answer was lost may have been done: its repetition is then refused (taken, or no
 * such upload), and the writer's name in the object's metadata tells whether by itself.
 *
 * A writer killed within a multipart upload leaves parts that no listing shows; buckets have a
 * rule for those (AbortIncompleteMultipartUpload).
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import type { Readable } from "node:stream";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client as SdkClient,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { isKvaultError, KvaultError, throwIfAborted } from "@kvault/core";
import { MAX_VALUE_BYTES } from "../blob-store.ts";
import { RetryBudget } from "../retry-budget.ts";
import { pause, within } from "../within.ts";
import type { S3Client, S3Object, S3PutOptions } from "./s3-client.ts";
import { isPassing, s3Error } from "./s3-errors.ts";

/** Above this a value goes up in parts. */
const MULTIPART_BYTES = 16 * 1024 * 1024;
const PART_BYTES = 8 * 1024 * 1024;
const PARTS_AT_ONCE = 4;
/** Requests to the server at a time; more wait for a socket. */
const MAX_SOCKETS = 64;
const CONNECT_MS = 3_000;
const MAX_ATTEMPTS = 4;
const FIRST_RETRY_MS = 100;
const WRITER = "kvault-writer";
const LENGTH = "kvault-bytes";

export interface S3SdkClientOptions {
  readonly bucket: string;
  readonly region: string;
  /** Any server that speaks S3; AWS of the region without. */
  readonly endpoint: string | undefined;
  /** For one attempt of one request. */
  readonly timeoutMs: number;
}

interface Attempts {
  readonly action: string;
  readonly key: string;
  readonly signal?: AbortSignal | undefined;
  /** Aborts end an attempt under way; else they only stop the next one. */
  readonly interruptible: boolean;
}

export function createS3SdkClient(options: S3SdkClientOptions): S3Client {
  return new S3SdkClient(options);
}

class S3SdkClient implements S3Client {
  readonly #sdk: SdkClient;
  readonly #bucket: string;
  readonly #timeoutMs: number;
  readonly #budget = new RetryBudget();

  constructor({ bucket, region, endpoint, timeoutMs }: S3SdkClientOptions) {
    this.#bucket = bucket;
    this.#timeoutMs = timeoutMs;
    const agent = { keepAlive: true, maxSockets: MAX_SOCKETS };
    this.#sdk = new SdkClient({
      region,
      ...(endpoint === undefined ? {} : { endpoint, forcePathStyle: true }),
      maxAttempts: 1,
      requestHandler: { connectionTimeout: CONNECT_MS, httpAgent: agent, httpsAgent: agent },
    });
  }

  async put(key: string, bytes: Uint8Array, { ifAbsent, signal }: S3PutOptions): Promise<void> {
    const writer = randomUUID();
    const target = { Bucket: this.#bucket, Key: key };
    const Metadata = { [WRITER]: writer, [LENGTH]: `${bytes.byteLength}` };
    const condition = ifAbsent ? { IfNoneMatch: "*" } : {};
    const upload =
      bytes.byteLength <= MULTIPART_BYTES
        ? async (abortSignal: AbortSignal): Promise<void> => {
            await this.#sdk.send(new PutObjectCommand({ ...target, ...condition, Metadata, Body: bytes }), { abortSignal });
          }
        : await this.#uploadParts(key, bytes, Metadata, condition, signal);
    let repeated = false;
    try {
      await this.#attempt({ action: "put", key, signal, interruptible: false }, async (abortSignal) => {
        await upload(abortSignal).catch((error: unknown) => {
          repeated ||= isPassing(error);
          throw error;
        });
      });
    } catch (error) {
      // Refused as taken, or as an upload that is over: by whom is the question.
      if (repeated && isKvaultError(error, "STORE_EXISTS", "STORE_NOT_FOUND") && (await this.#isWrittenBy(key, writer))) return;
      if (!isKvaultError(error, "STORE_NOT_FOUND")) throw error;
      throw new KvaultError("STORE_UNAVAILABLE", `Cannot put "${key}": the upload is gone`, { details: { key }, cause: error });
    }
  }

  get(key: string, signal?: AbortSignal): Promise<Uint8Array> {
    return this.#attempt({ action: "get", key, signal, interruptible: true }, async (abortSignal) => {
      const command = new GetObjectCommand({ Bucket: this.#bucket, Key: key });
      const { Body, ContentLength, Metadata } = await this.#sdk.send(command, { abortSignal });
      const body = Body as Readable;
      try {
        const bytes = await readBody(body, key, ContentLength);
        const noted = Metadata?.[LENGTH];
        if (noted !== undefined && Number(noted) !== bytes.byteLength) {
          throw new KvaultError("CACHE_CORRUPT", `Cannot get "${key}": ${bytes.byteLength} bytes, ${noted} were put`, {
            details: { key },
          });
        }
        return bytes;
      } finally {
        // A body that is not read to its end would keep its socket for ever.
        body.destroy();
      }
    });
  }

  async delete(key: string, signal?: AbortSignal): Promise<void> {
    const command = { Bucket: this.#bucket, Key: key };
    await this.#attempt({ action: "delete", key, signal, interruptible: false }, (abortSignal) =>
      this.#sdk.send(new DeleteObjectCommand(command), { abortSignal }),
    ).catch((error: unknown) => {
      if (!isKvaultError(error, "STORE_NOT_FOUND")) throw error;
    });
  }

  list(prefix: string, after: string, limit: number, signal?: AbortSignal): Promise<readonly S3Object[]> {
    return this.#attempt({ action: "list", key: prefix, signal, interruptible: true }, async (abortSignal) => {
      const start = after === "" ? {} : { StartAfter: after };
      const command = new ListObjectsV2Command({ Bucket: this.#bucket, Prefix: prefix, MaxKeys: limit, ...start });
      const { Contents = [] } = await this.#sdk.send(command, { abortSignal });
      return Contents.map(({ Key = "", Size = 0, LastModified }) => ({
        key: Key,
        bytes: Size,
        ...(LastModified === undefined ? {} : { modifiedMs: LastModified.getTime() }),
      }));
    });
  }

  close(): void {
    this.#sdk.destroy();
  }

  /** Sends all parts; the returned call makes an object of them. */
  async #uploadParts(
    key: string,
    bytes: Uint8Array,
    Metadata: Record<string, string>,
    condition: { readonly IfNoneMatch?: string },
    signal: AbortSignal | undefined,
  ): Promise<(abortSignal: AbortSignal) => Promise<void>> {
    const target = { Bucket: this.#bucket, Key: key };
    const attempts: Attempts = { action: "put", key, signal, interruptible: true };
    const { UploadId } = await this.#attempt(attempts, (abortSignal) =>
      this.#sdk.send(new CreateMultipartUploadCommand({ ...target, Metadata }), { abortSignal }),
    );
    const upload = { ...target, UploadId };
    const parts: { PartNumber: number; ETag: string | undefined }[] = [];
    const numParts = Math.ceil(bytes.byteLength / PART_BYTES);
    let next = 0;
    let failed = false;
    const sendRest = async (): Promise<void> => {
      for (let i = next++; i < numParts && !failed; i = next++) {
        const part = { ...upload, PartNumber: i + 1, Body: bytes.subarray(i * PART_BYTES, (i + 1) * PART_BYTES) };
        const { ETag } = await this.#attempt(attempts, (abortSignal) =>
          this.#sdk.send(new UploadPartCommand(part), { abortSignal }),
        ).catch((error: unknown) => {
          failed = true;
          throw error;
        });
        parts[i] = { PartNumber: i + 1, ETag };
      }
    };
    const abandon = (): void => void this.#sdk.send(new AbortMultipartUploadCommand(upload)).catch(() => undefined);
    const outcomes = await Promise.allSettled(Array.from({ length: PARTS_AT_ONCE }, sendRest));
    const failure = outcomes.find((outcome) => outcome.status === "rejected");
    if (failure !== undefined) {
      abandon();
      throw failure.reason;
    }
    return async (abortSignal) => {
      const command = new CompleteMultipartUploadCommand({ ...upload, ...condition, MultipartUpload: { Parts: parts } });
      await this.#sdk.send(command, { abortSignal }).catch((error: unknown) => {
        if (!isPassing(error)) abandon();
        throw error;
      });
    };
  }

  async #isWrittenBy(key: string, writer: string): Promise<boolean> {
    const found = await this.#attempt({ action: "put", key, interruptible: true }, (abortSignal) =>
      this.#sdk.send(new HeadObjectCommand({ Bucket: this.#bucket, Key: key }), { abortSignal }),
    ).catch((error: unknown) => {
      if (!isKvaultError(error, "STORE_NOT_FOUND")) throw error;
      return undefined;
    });
    return found?.Metadata?.[WRITER] === writer;
  }

  async #attempt<T>(
    { action, key, signal, interruptible }: Attempts,
    call: (abortSignal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    this.#budget.earn();
    for (let attempt = 1; ; attempt++) {
      throwIfAborted(signal);
      const ending = new AbortController();
      try {
        return await within(call(ending.signal), this.#timeoutMs, interruptible ? signal : undefined);
      } catch (error) {
        // What was given up must not go on by itself.
        ending.abort();
        const broken = isPassing(error) || isKvaultError(error, "CACHE_CORRUPT");
        if (!broken || attempt === MAX_ATTEMPTS || !this.#budget.spend()) throw s3Error(error, action, key);
        await pause(FIRST_RETRY_MS * 2 ** (attempt - 1) * (0.5 + Math.random() / 2), signal);
      }
    }
  }
}

/** All of `body`, into one array of the announced length. */
async function readBody(body: Readable, key: string, length: number | undefined): Promise<Uint8Array> {
  if (length === undefined || length > MAX_VALUE_BYTES) {
    throw new KvaultError("CACHE_CORRUPT", `Cannot get "${key}": its length is ${length ?? "not told"}`, { details: { key } });
  }
  const bytes = new Uint8Array(length);
  let done = 0;
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    if (done + chunk.byteLength > length) {
      throw new KvaultError("STORE_UNAVAILABLE", `the body is longer than the ${length} bytes announced`);
    }
    bytes.set(chunk, done);
    done += chunk.byteLength;
  }
  if (done !== length) throw new KvaultError("STORE_UNAVAILABLE", `the body ended at ${done} of ${length} bytes`);
  return bytes;
}
