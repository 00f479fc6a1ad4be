/**
 * Real weight files for model tests: those of the catalogue, from the cache folder that the
 * command line uses too, fetched when they are not there.
 *
 * @module
 */
import { homedir } from "node:os";
import { join } from "node:path";
import { type ModelHub, openHub } from "../hub/hub.ts";

/** Path of the verified file of catalogue model `name`. */
export async function testModelPath(name: string): Promise<string> {
  return (await testHub()).fetchModel(name);
}

/** True when the file of model `name` is here; says that tests are skipped when it is not. */
export async function isTestModelHere(name: string): Promise<boolean> {
  const hub = await testHub();
  const isHere = await hub.isPresent(name);
  // biome-ignore lint/suspicious/noConsole: a skipped test says why
  if (!isHere) console.info(`Skipped: no ${hub.pathOf(name)} (\`kvault model pull ${name}\` gets it)`);
  return isHere;
}

function testHub(): Promise<ModelHub> {
  // biome-ignore lint/style/noProcessEnv: tests have no other settings
  const { KVAULT_CACHE_DIR, XDG_CACHE_HOME } = process.env;
  return openHub({ cacheDir: KVAULT_CACHE_DIR ?? join(XDG_CACHE_HOME ?? join(homedir(), ".cache"), "kvault") });
}
