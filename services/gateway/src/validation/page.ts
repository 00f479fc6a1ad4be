/**
 * Page sizes and opaque page tokens (AIP-158).
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import type { z } from "zod";

const DEFAULT_PAGE_SIZE = 50;
const MAX_PAGE_SIZE = 1_000;
const MAX_TOKEN_CHARS = 512;

/** 0: the default; above the limit: the limit. */
export function readPageSize(pageSize: number): number {
  if (pageSize < 0) throw invalidArgument("page_size", `Cannot list ${pageSize} at a time: must not be negative`);
  return Math.min(pageSize || DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE);
}

/** Last item of a page → token of the next one. Clients must not look inside. */
export function writePageToken(position: object): string {
  return Buffer.from(JSON.stringify(position)).toString("base64url");
}

/** The position a token holds; undefined for the first page. */
export function readPageToken<T>(token: string, schema: z.ZodType<T>): T | undefined {
  if (token === "") return undefined;
  try {
    if (token.length <= MAX_TOKEN_CHARS) return schema.parse(JSON.parse(Buffer.from(token, "base64url").toString("utf8")));
  } catch {
    // Told below.
  }
  throw invalidArgument("page_token", "Cannot go on listing: the page token is not one of ours");
}
