/**
 * Where models, test servers and a browser were set up: what `kvault` takes for its cache folder.
 *
 * @module
 */
import { homedir } from "node:os";
import { join } from "node:path";

export const CACHE_DIR: string =
  process.env["KVAULT_CACHE_DIR"] ?? join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "kvault");
