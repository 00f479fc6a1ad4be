/**
 * The programs that `tools/setup-kubernetes` keeps in the cache folder.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { CACHE_DIR } from "../cache-dir.ts";

export const ROOT: string = fileURLToPath(new URL("../..", import.meta.url));
export const KUBERNETES_HOME: string = join(CACHE_DIR, "kubernetes");

export function toolPath(name: string): string {
  const path = join(KUBERNETES_HOME, "bin", name);
  if (!existsSync(path)) throw new Error(`Cannot run ${name}: not set up, run tools/setup-kubernetes`);
  return path;
}

/** Standard output of a program that ends well. */
export async function run(
  program: string,
  args: readonly string[],
  more: { cwd?: string; timeoutMs?: number } = {},
): Promise<string> {
  const { cwd = ROOT, timeoutMs = 120_000 } = more;
  const options = { cwd, timeout: timeoutMs, maxBuffer: 64 * 2 ** 20 };
  const ran = await promisify(execFile)(program, [...args], options).catch(
    (error: Error & { stderr?: string; stdout?: string }) => {
      throw new Error(`${program} ${args.join(" ")}: ${error.message}\n${error.stdout ?? ""}${error.stderr ?? ""}`);
    },
  );
  return ran.stdout;
}
