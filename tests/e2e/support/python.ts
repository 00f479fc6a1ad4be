/**
 * A Python with the packages of a requirements file, made once and kept in the cache folder.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { CACHE_DIR } from "../../cache-dir.ts";

const run = promisify(execFile);

/** Path of its interpreter. */
export async function pythonWith(requirementsFile: string): Promise<string> {
  const digest = createHash("sha256").update(readFileSync(requirementsFile)).digest("hex").slice(0, 16);
  const folder = join(CACHE_DIR, "test-python", digest);
  const interpreter = join(folder, "bin", "python");
  if (existsSync(join(folder, "complete"))) return interpreter;
  // A virtual environment knows its own path, so it is made in place; the marker comes last.
  rmSync(folder, { recursive: true, force: true });
  await run("python3", ["-m", "venv", folder]);
  await run(interpreter, ["-m", "pip", "install", "--quiet", "--requirement", requirementsFile], { timeout: 300_000 });
  mkdirSync(join(folder, "complete.tmp"));
  renameSync(join(folder, "complete.tmp"), join(folder, "complete"));
  return interpreter;
}

/** Runs a script; resolves with what it printed. */
export async function python(interpreter: string, args: readonly string[]): Promise<string> {
  const { stdout } = await run(interpreter, [...args], { timeout: 300_000, maxBuffer: 16 * 1024 * 1024 });
  return stdout;
}
