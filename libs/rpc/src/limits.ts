/** Largest message sent or taken, bytes. Longer texts come in pieces (UploadContext). */
export const MAX_MESSAGE_BYTES: number = 8 * 2 ** 20;

/** Longest text of a context, bytes; it arrives in pieces. */
export const MAX_CONTENT_BYTES: number = 64 * 2 ** 20;

/** Largest message between our own processes: a whole content in one BuildRequest, and what goes with it. */
export const INTERNAL_MESSAGE_BYTES: number = MAX_CONTENT_BYTES + MAX_MESSAGE_BYTES;

/** How often an open connection is probed, and how long an answer may take. */
export const KEEPALIVE_MS = 30_000;
export const KEEPALIVE_TIMEOUT_MS = 10_000;
