import { describe, expect, test } from "vitest";
import { anchors, fences, links, sections, withSections } from "./markdown.ts";

const PAGE = [
  "# Add a `scorer`, quickly",
  "See [the page](docs/a.md#top), `[not](a-link)` and",
  '<img src="docs/picture.svg" alt="">',
  "```sh run",
  "echo [no](link)",
  "# not a heading",
  "```",
  "<!-- generated: methods -->",
  "old",
  "<!-- end -->",
  "after",
].join("\n");

describe("markdown", () => {
  test("links() skips code", () => {
    expect(links(PAGE).map((link) => link.target)).toEqual(["docs/a.md#top", "docs/picture.svg"]);
  });
  test("fences() gives info string, code and line", () => {
    expect(fences(PAGE)).toEqual([{ info: "sh run", code: "echo [no](link)\n# not a heading", line: 4 }]);
  });
  test("anchors() follows the rule of code hosts", () => {
    expect([...anchors(PAGE)]).toEqual(["add-a-scorer-quickly"]);
  });
  test("sections() finds marked bodies and refuses one without an end", () => {
    expect(sections(PAGE)).toEqual([{ kind: "generated", name: "methods", body: "old", line: 8 }]);
    expect(() => sections("<!-- include: a.ts -->\nx")).toThrow('no "<!-- end -->"');
  });
  test("withSections() replaces only the body and is idempotent", () => {
    const once = withSections(PAGE, () => "new\nlines");
    expect(once).toContain("<!-- generated: methods -->\n\nnew\nlines\n\n<!-- end -->\nafter");
    expect(withSections(once, () => "new\nlines")).toBe(once);
  });
});
