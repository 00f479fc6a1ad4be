/**
 * `@kvault/client` as a package for npm: one JavaScript file, one file of types, nothing of the
 * workspace left to install.
 *
 *     tsx tools/pack-client.ts [FOLDER]
 *
 * What it takes from the libraries is bundled; what npm has is a dependency, and only if the bundle
 * imports it. Needs the packages to be compiled. The tarball goes to FOLDER (`out`); its path is the
 * last line printed.
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { type RolldownOutput, rolldown } from "rolldown";
import { dts } from "rolldown-plugin-dts";

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly license: string;
  readonly engines?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
}

const CLIENT = join("libs", "client");
const COMPILED = join(CLIENT, "dist");
/** What the package is packed from. */
const STAGE = join(COMPILED, "package");

const manifestOf = (folder: string): Manifest => JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Manifest;

/** Everything but the workspace and the file's own modules stays an import. */
const isOutside = (id: string): boolean => !/^[./#]/.test(id) && !id.startsWith("@kvault/");

async function bundle(): Promise<string[]> {
  const shared = { external: isOutside, platform: "node" } as const;
  const code = await rolldown({ ...shared, input: join(COMPILED, "index.js"), treeshake: { moduleSideEffects: false } });
  const types = await rolldown({
    ...shared,
    input: { index: join(COMPILED, "index.d.ts") },
    plugins: [dts({ dtsInput: true, tsconfig: false })],
  });
  const outputs = [await code.write({ dir: STAGE }), await types.write({ dir: STAGE })];
  await Promise.all([code.close(), types.close()]);
  return [...new Set(outputs.flatMap(importsOf))].sort();
}

function importsOf({ output }: RolldownOutput): string[] {
  const chunks = output.filter((file) => file.type === "chunk");
  return chunks.flatMap(({ imports }) => imports.filter((name) => !name.startsWith("node:") && !name.startsWith("./")));
}

/** Package → range, as the workspace has it pinned. */
function dependenciesOf(imports: readonly string[]): Record<string, string> {
  const pinned = Object.assign({}, ...readdirSync("libs").map((name) => manifestOf(join("libs", name)).dependencies ?? {}));
  const packages = new Set(
    imports.map((name) =>
      name
        .split("/")
        .slice(0, name.startsWith("@") ? 2 : 1)
        .join("/"),
    ),
  );
  return Object.fromEntries(
    [...packages].map((name) => {
      const version = (pinned as Record<string, string>)[name];
      if (version === undefined) throw new Error(`Cannot pack the client: no library depends on "${name}", which it imports`);
      return [name, `^${version}`];
    }),
  );
}

/** Stages the package; returns its manifest. */
async function stage(): Promise<object> {
  rmSync(STAGE, { recursive: true, force: true });
  mkdirSync(STAGE, { recursive: true });
  const { name, version, description, license } = manifestOf(CLIENT);
  const manifest = {
    name,
    version,
    description,
    license,
    type: "module",
    exports: { ".": { types: "./index.d.ts", default: "./index.js" } },
    engines: manifestOf(".").engines,
    dependencies: dependenciesOf(await bundle()),
  };
  writeFileSync(join(STAGE, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
  copyFileSync(join(CLIENT, "README.md"), join(STAGE, "README.md"));
  copyFileSync("LICENSE", join(STAGE, "LICENSE"));
  return manifest;
}

const folder = resolve(process.argv[2] ?? "out");
mkdirSync(folder, { recursive: true });
await stage();
const packed = execFileSync("npm", ["pack", "--json", "--pack-destination", folder], { cwd: STAGE, encoding: "utf8" });
const [{ filename } = { filename: "" }] = JSON.parse(packed) as readonly { readonly filename: string }[];
console.log(join(folder, filename));
