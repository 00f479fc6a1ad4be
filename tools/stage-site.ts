/**
 * The pages of the site, from the repository as it is: every Markdown file in its own place, and a
 * page for every source file and folder that one of them links to.
 *
 *     tsx tools/stage-site.ts FOLDER
 *
 * Links keep working since places do. Comments, which mark sections for other tools, are left out. A
 * link to what is not there fails here; VitePress would fail on a page, but not on a file.
 *
 * @module
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, extname, join, normalize } from "node:path";
import { documents } from "./documents.ts";

const FENCE = /^\s*(```+)(.*)$/;
const LINK = /\]\(([^)\s]+)\)/g;
const LANGUAGES: Readonly<Record<string, string>> = {
  ".proto": "proto",
  ".py": "python",
  ".sh": "sh",
  ".ts": "ts",
  ".yaml": "yaml",
};
const PICTURE = /\.(?:svg|png)$/;
/** A longer file is not shown: its page says so. */
const MAX_SHOWN_BYTES = 20_000;

/** Writes everything below `folder`; what was there before is gone. */
function stage(root: string, folder: string): void {
  rmSync(folder, { recursive: true, force: true });
  const sources = new Set<string>();
  const folders = new Set<string>();
  const pictures = new Set<string>();
  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  };
  const pages = documents(root);
  /** Where a link leads on the site. */
  const pageOf = (from: string, target: string): string => {
    if (/^(?:[a-z]+:|#)/.test(target)) return target;
    const [file = "", anchor] = target.split("#");
    const path = normalize(join(dirname(from), decodeURIComponent(file)));
    if (!existsSync(join(root, path))) throw new Error(`Cannot stage ${from}: it links to "${target}", which does not exist`);
    const hash = anchor === undefined ? "" : `#${anchor}`;
    if (statSync(join(root, path)).isDirectory()) {
      const readme = join(path, "README.md");
      if (existsSync(join(root, readme))) return `/${readme}`;
      folders.add(path);
      return `/${path}/index.md`;
    }
    if (path.endsWith(".md")) return `/${path}${hash}`;
    if (PICTURE.test(path)) {
      pictures.add(path);
      return `/${path}`;
    }
    sources.add(path);
    return `/${path}.md`;
  };
  for (const path of pages)
    write(
      path,
      pageText(readFileSync(join(root, path), "utf8"), (target) => pageOf(path, target)),
    );
  for (const path of pictures) {
    mkdirSync(dirname(join(folder, "public", path)), { recursive: true });
    copyFileSync(join(root, path), join(folder, "public", path));
  }
  for (const path of folders) write(join(path, "index.md"), folderPage(root, path, sources));
  for (const path of sources) write(`${path}.md`, sourcePage(root, path));
}

/** A page without its comments, its links led through `pageOf`. */
function pageText(text: string, pageOf: (target: string) => string): string {
  let fence = "";
  return text
    .split("\n")
    .filter((line) => fence !== "" || !/^<!--.*-->$/.test(line))
    .map((line) => {
      const [, ticks, info = ""] = FENCE.exec(line) ?? [];
      if (fence !== "") {
        if (ticks !== undefined && ticks.length >= fence.length && info === "") fence = "";
        return line;
      }
      if (ticks === undefined) return prose(line, pageOf);
      fence = ticks;
      return line.replace(/(```+)(\w+) run$/, "$1$2");
    })
    .join("\n");
}

/** A line with its links led through `pageOf`; what is a tag elsewhere is text here. */
function prose(line: string, pageOf: (target: string) => string): string {
  return line.replaceAll("<br>", " · ").replace(LINK, (_, target: string) => `](${pageOf(target)})`);
}

/** What is in a folder: pages by their titles, files by their names, linked when another page links to them. */
function folderPage(root: string, path: string, sources: ReadonlySet<string>): string {
  const entries = readdirSync(join(root, path), { withFileTypes: true }).filter((entry) => entry.isFile());
  const lines = entries
    .map(({ name }) => join(path, name))
    .sort()
    .map((file) => {
      if (file.endsWith(".md")) return `- [${titleOf(readFileSync(join(root, file), "utf8"))}](/${file})`;
      return sources.has(file) ? `- [\`${basename(file)}\`](/${file}.md)` : `- \`${basename(file)}\``;
    });
  const readme = path === "docs/adr" ? "Decisions" : path;
  return `# ${readme}\n\n${lines.join("\n")}\n`;
}

function titleOf(text: string): string {
  return /^# (.*)$/m.exec(text)?.[1] ?? "untitled";
}

function sourcePage(root: string, path: string): string {
  const text = readFileSync(join(root, path), "utf8");
  const shown = Buffer.byteLength(text) > MAX_SHOWN_BYTES ? "It is too long to be shown here." : fenced(text, extname(path));
  return `---\noutline: false\nsearch: false\n---\n\n# \`${path}\`\n\n${shown}\n`;
}

function fenced(text: string, extension: string): string {
  return `\`\`\`\`\`${LANGUAGES[extension] ?? "text"}\n${text.trimEnd()}\n\`\`\`\`\``;
}

const [folder = join("site", "pages")] = process.argv.slice(2);
stage(process.cwd(), folder);
copyFileSync(join("site", "index.md"), join(folder, "index.md"));
