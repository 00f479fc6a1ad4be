/**
 * A Dockerfile without Docker: each stage is a folder, COPY copies between folders, RUN runs in the
 * stage's WORKDIR. What a stage leaves is what its image would hold beside the base's own files.
 *
 * RUN may therefore name nothing outside its WORKDIR; this is checked.
 *
 * @module
 */
import { cp, mkdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { Copy, DockerfileParser } from "dockerfile-ast";
import { ROOT, run } from "./tools.ts";

export interface Stage {
  /** Folder that is the image's `/`. */
  readonly root: string;
  readonly workdir: string;
  readonly env: Readonly<Record<string, string>>;
  readonly user: string;
  readonly cmd: readonly string[];
}

/** Runs every stage that `targets` need; folders are made under `scratch`. */
export async function buildImages(dockerfile: string, targets: readonly string[], scratch: string): Promise<Map<string, Stage>> {
  const parsed = DockerfileParser.parse(await readFile(join(ROOT, dockerfile), "utf8"));
  const built = new Map<string, Stage>();
  const stages = new Map<string, { from: string; steps: { keyword: string; args: string }[] }>();
  let current: { from: string; steps: { keyword: string; args: string }[] } | undefined;
  for (const instruction of parsed.getInstructions()) {
    const keyword = instruction.getKeyword();
    const from = instruction instanceof Copy ? instruction.getFromFlag()?.getValue() : undefined;
    const args = `${from ? `--from=${from} ` : ""}${instruction.getArgumentsContent() ?? ""}`;
    if (keyword === "FROM") {
      const [base = "", , name = ""] = args.split(/\s+/);
      current = { from: base, steps: [] };
      stages.set(name, current);
    } else current?.steps.push({ keyword, args });
  }

  const build = async (name: string): Promise<Stage> => {
    const ready = built.get(name);
    if (ready !== undefined) return ready;
    const stage = stages.get(name);
    if (stage === undefined) throw new Error(`${dockerfile} has no stage ${name}`);
    const root = join(scratch, name);
    let made: Stage = { root, workdir: "/", env: {}, user: "root", cmd: [] };
    if (stages.has(stage.from)) {
      const base = await build(stage.from);
      // Hard links: steps after it replace and remove files, and write into none.
      await run("cp", ["-al", base.root, root]);
      made = { ...base, root };
    } else {
      if (!/:\d+\.\d+\.\d+/.test(stage.from)) throw new Error(`${dockerfile}: ${stage.from} is not pinned to a version`);
      await mkdir(root, { recursive: true });
    }
    for (const { keyword, args } of stage.steps) made = await step(made, keyword, args);
    built.set(name, made);
    return made;
  };

  const step = async (stage: Stage, keyword: string, args: string): Promise<Stage> => {
    switch (keyword) {
      case "WORKDIR":
        await mkdir(join(stage.root, args), { recursive: true });
        return { ...stage, workdir: args };
      case "ENV": {
        const pairs = args.split(/\s+/).map((pair) => pair.split("=") as [string, string]);
        return { ...stage, env: { ...stage.env, ...Object.fromEntries(pairs) } };
      }
      case "RUN":
        if (/(^|\s)\/(?!dev\/)|\.\.\//.test(args.replace(/'[^']*'/g, "")))
          throw new Error(`RUN ${args}: names a path outside its WORKDIR`);
        await run("bash", ["-euc", args], { cwd: join(stage.root, stage.workdir), timeoutMs: 300_000 });
        return stage;
      case "COPY":
        await copy(stage, args.split(/\s+/));
        return stage;
      case "USER":
        return { ...stage, user: args };
      case "CMD":
        return { ...stage, cmd: JSON.parse(args) as string[] };
      case "EXPOSE":
        return stage;
      default:
        throw new Error(`${dockerfile}: no idea how to do ${keyword} ${args}`);
    }
  };

  const copy = async (stage: Stage, words: readonly string[]): Promise<void> => {
    const from = words[0]?.startsWith("--from=") ? words[0].slice("--from=".length) : undefined;
    const [source = "", target = ""] = words.slice(from === undefined ? 0 : 1);
    const into = join(stage.root, stage.workdir, target);
    if (from === undefined) {
      if (source !== ".") throw new Error(`COPY ${source}: only the whole context is copied`);
      await copyContext(dockerfile, into);
      return;
    }
    // Of the base, whose files are not here.
    if (source.startsWith("/usr/")) return;
    const path = join((await build(from)).root, source);
    const isFolder = (await stat(path)).isDirectory();
    await mkdir(isFolder || target.endsWith("/") ? into : join(into, ".."), { recursive: true });
    await run("cp", ["-al", isFolder ? `${path}/.` : path, into]);
  };

  for (const target of targets) await build(target);
  return built;
}

/** What git has and .dockerignore lets through. */
async function copyContext(dockerfile: string, into: string): Promise<void> {
  const ignored = (await readFile(join(ROOT, `${dockerfile}.dockerignore`), "utf8"))
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#") && !line.startsWith("**"));
  const listed = await run("git", ["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
  for (const path of listed.split("\0")) {
    if (path === "" || ignored.some((folder) => path.startsWith(`${folder}/`))) continue;
    await cp(join(ROOT, path), join(into, path)).catch((error: NodeJS.ErrnoException) => {
      // Removed in the working tree and not yet in the index.
      if (error.code !== "ENOENT") throw error;
    });
  }
}
