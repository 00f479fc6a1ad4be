/**
 * Generated code is what `buf generate` makes today: it is made again in a temporary folder and
 * compared file by file.
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const GENERATED = "libs/rpc/src/gen";

function filesUnder(folder: string): Map<string, string> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(
    entries.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return [path.slice(folder.length + 1), readFileSync(path, "utf8")];
    }),
  );
}

const scratch = mkdtempSync(join(tmpdir(), "kvault-gen-"));
try {
  execFileSync(join("node_modules", ".bin", "buf"), ["generate", "--output", scratch], { stdio: "inherit" });
  const committed = filesUnder(GENERATED);
  const fresh = filesUnder(join(scratch, GENERATED));
  const names = [...new Set([...committed.keys(), ...fresh.keys()])].sort();
  const stale = names.filter((name) => committed.get(name) !== fresh.get(name));
  for (const name of stale) console.error(`${join(GENERATED, name)}: not what \`make gen\` writes`);
  process.exitCode = stale.length === 0 ? 0 : 1;
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
