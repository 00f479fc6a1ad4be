/** Largest message sent or taken, bytes. Longer texts come in pieces (UploadContext). */
export const MAX_MESSAGE_BYTES: number = 8 * 2 ** 20;

/** How often an open connection is probed, and how long an answer may take. */
export const KEEPALIVE_MS = 30_000;
export const KEEPALIVE_TIMEOUT_MS = 10_000;
