/** A token kept in a file, read again when it changes. @module */
import { readFileSync } from "node:fs";
import { KvaultError } from "@kvault/core";
import { type WatchedFile, watchFiles } from "./watched-file.ts";

/** `value` is the file's token, without what surrounds it. INVALID_ARGUMENT when there is none. */
export function watchTokenFile(path: string): WatchedFile<string> {
  return watchFiles({ paths: [path], read: () => readToken(path) });
}

function readToken(path: string): string {
  let token: string;
  try {
    token = readFileSync(path, "utf8").trim();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new KvaultError("INVALID_ARGUMENT", `Cannot read the token file: ${reason}`, {
      details: { field: "tokenFile" },
      cause,
    });
  }
  if (token !== "") return token;
  throw new KvaultError("INVALID_ARGUMENT", "Cannot use the token file: it is empty", { details: { field: "tokenFile" } });
}
