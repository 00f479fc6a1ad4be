/**
 * What the S3 store needs of a client: four calls. The SDK is behind them (s3-sdk-client.ts);
 * nothing else knows it.
 *
 * @module
 */

export interface S3Object {
  readonly key: string;
  readonly bytes: number;
  readonly modifiedMs?: number;
}

export interface S3PutOptions {
  /** STORE_EXISTS when there is such an object, decided by the server. */
  readonly ifAbsent: boolean;
  /** Stops the call before it changes anything, not after. */
  readonly signal?: AbortSignal | undefined;
}

/** Every call has a deadline, is tried again within bounds, and fails with a KvaultError only. */
export interface S3Client {
  put(key: string, bytes: Uint8Array, options: S3PutOptions): Promise<void>;
  get(key: string, signal?: AbortSignal): Promise<Uint8Array>;
  delete(key: string, signal?: AbortSignal): Promise<void>;
  /** At most `limit` objects under `prefix`, by key, after the key `after`. */
  list(prefix: string, after: string, limit: number, signal?: AbortSignal): Promise<readonly S3Object[]>;
  close(): void;
}
