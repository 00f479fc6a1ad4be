/**
 * Adds to package-lock.json the optional packages of other platforms that `npm install` left out
 * because the registry in use does not serve them; without their entries `npm ci` refuses the
 * lock file everywhere. Run it after adding a dependency behind such a registry:
 *
 *     npx tsx tools/complete-lock.ts
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";

interface LockEntry {
  readonly version?: string;
  readonly dev?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const PATH = "package-lock.json";
const SYSTEMS = ["android", "darwin", "win32", "freebsd", "openbsd", "netbsd", "sunos", "aix", "openharmony", "linux"];
const PROCESSORS = ["arm64", "x64", "ppc64", "ppc64le", "riscv64", "s390x", "ia32", "loong64", "mips64el"];

/** What the names of platform packages say: `…-linux-arm64-musl`. */
function platformOf(name: string): { os?: string[]; cpu?: string[]; libc?: string[] } {
  const words = name.split(/[-/]/);
  const os = SYSTEMS.find((system) => words.includes(system));
  const cpu =
    PROCESSORS.find((processor) => words.includes(processor)) ?? (words.some((word) => /^arm/.test(word)) ? "arm" : undefined);
  const musl = words.some((word) => word.startsWith("musl"));
  const gnu = words.some((word) => word.startsWith("gnu"));
  return {
    ...(cpu === undefined ? {} : { cpu: [cpu] }),
    ...(musl || (gnu && os === "linux") ? { libc: [musl ? "musl" : "glibc"] } : {}),
    ...(os === undefined ? {} : { os: [os] }),
  };
}

const lock = JSON.parse(readFileSync(PATH, "utf8")) as { packages: Record<string, LockEntry> };
const { "": root, ...packages } = lock.packages;
const added: Record<string, LockEntry> = {};
for (const [path, { dev, optionalDependencies = {} }] of Object.entries(packages)) {
  for (const [name, version] of Object.entries(optionalDependencies)) {
    const isThere = `${path}/node_modules/${name}` in packages || `node_modules/${name}` in packages;
    if (isThere || !/^\d+\.\d+\.\d+/.test(version)) continue;
    added[`node_modules/${name}`] = {
      version,
      ...(dev === true ? { dev } : {}),
      optional: true,
      ...platformOf(name),
    } as LockEntry;
  }
}
const sorted = Object.entries({ ...packages, ...added }).sort(([a], [b]) => (a < b ? -1 : 1));
lock.packages = { "": root ?? {}, ...Object.fromEntries(sorted) };
if (Object.keys(added).length > 0) writeFileSync(PATH, `${JSON.stringify(lock, undefined, 2)}\n`);
console.log(`${Object.keys(added).length} entries added`);
