/**
 * The little of Markdown that the documentation tools need: headings, links, fenced code and
 * marked sections. Line based: fences are tracked so that nothing inside code counts.
 *
 * Marked sections, each written by `make gen` and compared by check-docs:
 *
 *     <!-- generated: NAME -->            body made by tools/gen-docs.ts
 *     <!-- include: PATH -->              body is that file, fenced
 *     <!-- include: PATH#REGION -->       … its lines between `docs:begin REGION` and `docs:end REGION`
 *     <!-- transcript: NAME -->           body is checked by the end-to-end test of that name
 *     <!-- end -->
 *
 * @module
 */

export interface Fence {
  /** The info string: `sh run`, `ts`, … */
  readonly info: string;
  readonly code: string;
  /** 1-based line of the opening fence. */
  readonly line: number;
}

export interface Link {
  readonly target: string;
  readonly line: number;
}

export interface Section {
  readonly kind: "generated" | "include" | "transcript";
  readonly name: string;
  readonly body: string;
  readonly line: number;
}

interface Line {
  readonly text: string;
  readonly number: number;
}

const FENCE = /^\s*(```+)(.*)$/;
const OPEN = /^<!-- (generated|include|transcript): (\S+) -->$/;
const CLOSE = "<!-- end -->";

/** Lines outside fenced code. */
function proseLines(text: string): Line[] {
  const lines: Line[] = [];
  let fence = "";
  for (const [index, line] of text.split("\n").entries()) {
    const match = FENCE.exec(line);
    if (fence !== "") {
      if (match?.[1] !== undefined && match[1].length >= fence.length && match[2] === "") fence = "";
      continue;
    }
    if (match?.[1] !== undefined) fence = match[1];
    else lines.push({ text: line, number: index + 1 });
  }
  return lines;
}

export function fences(text: string): Fence[] {
  const found: Fence[] = [];
  let open: { readonly mark: string; readonly info: string; readonly line: number; readonly code: string[] } | undefined;
  for (const [index, line] of text.split("\n").entries()) {
    const match = FENCE.exec(line);
    if (open === undefined) {
      if (match?.[1] !== undefined) open = { mark: match[1], info: (match[2] ?? "").trim(), line: index + 1, code: [] };
    } else if (match?.[1] !== undefined && match[1].length >= open.mark.length && match[2] === "") {
      found.push({ info: open.info, line: open.line, code: open.code.join("\n") });
      open = undefined;
    } else open.code.push(line);
  }
  return found;
}

/** Targets of `[text](target)` and `<img src="target">`, code spans left out. */
export function links(text: string): Link[] {
  return proseLines(text).flatMap(({ text: line, number }) => {
    const prose = line.replace(/`[^`]*`/g, "``");
    const inline = [...prose.matchAll(/\]\(([^)\s]+)(?:\s+"[^"]*")?\)/g)].map((match) => match[1] ?? "");
    const images = [...prose.matchAll(/<img[^>]*\ssrc="([^"]+)"/g)].map((match) => match[1] ?? "");
    return [...inline, ...images].map((target) => ({ target, line: number }));
  });
}

/** Anchors of headings, as code hosts make them. */
export function anchors(text: string): Set<string> {
  const found = new Set<string>();
  for (const { text: line } of proseLines(text)) {
    const title = /^#{1,6}\s+(.*?)\s*#*$/.exec(line)?.[1];
    if (title === undefined) continue;
    const plain = title.replace(/[`*_]|\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
    found.add(plain.replace(/[^\p{L}\p{N}\s-]/gu, "").replace(/\s/g, "-"));
  }
  return found;
}

export function sections(text: string): Section[] {
  const lines = text.split("\n");
  const found: Section[] = [];
  for (let index = 0; index < lines.length; index++) {
    const match = OPEN.exec(lines[index] ?? "");
    if (match === null) continue;
    const end = lines.indexOf(CLOSE, index);
    if (end < 0) throw new Error(`Cannot read section "${match[2]}" at line ${index + 1}: no "${CLOSE}" after it`);
    found.push({
      kind: match[1] as Section["kind"],
      name: match[2] ?? "",
      body: lines
        .slice(index + 1, end)
        .join("\n")
        .trim(),
      line: index + 1,
    });
    index = end;
  }
  return found;
}

/** The text with the body of every section for which `bodyOf` answers replaced. */
export function withSections(text: string, bodyOf: (section: Section) => string | undefined): string {
  const lines = text.split("\n");
  const out: string[] = [];
  let rest = 0;
  for (const section of sections(text)) {
    const body = bodyOf(section);
    if (body === undefined) continue;
    out.push(...lines.slice(rest, section.line), "", ...body.trim().split("\n"), "");
    rest = lines.indexOf(CLOSE, section.line);
  }
  return [...out, ...lines.slice(rest)].join("\n");
}
