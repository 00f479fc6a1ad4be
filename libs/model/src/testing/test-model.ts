/**
 * Real weight files for model tests: those of the catalogue, from the cache folder that the
 * command line uses too, fetched when they are not there.
 *
 * @module
 */
import { homedir } from "node:os";
import { join } from "node:path";
import { openHub } from "../hub/hub.ts";

/** Path of the verified file of catalogue model `name`. */
export async function testModelPath(name: string): Promise<string> {
  // biome-ignore lint/style/noProcessEnv: tests have no other settings
  const { KVAULT_CACHE_DIR, XDG_CACHE_HOME } = process.env;
  const hub = await openHub({ cacheDir: KVAULT_CACHE_DIR ?? join(XDG_CACHE_HOME ?? join(homedir(), ".cache"), "kvault") });
  return hub.fetchModel(name);
}
