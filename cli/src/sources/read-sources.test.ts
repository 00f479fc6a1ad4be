import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readSources } from "./read-sources.ts";
import { readUrl } from "./read-url.ts";

const { signal } = new AbortController();
const PAGE = `<html><head><title>T</title><style>p { color: red }</style></head><body><nav>Menu</nav>
<main><h1>Ferries</h1><p>To Lund at <b>7:40</b>, <a href="/x">pier three</a>.</p><script>alert(1)</script>
<ul><li>Dogs travel free</li></ul></main><footer>Imprint</footer></body></html>`;

let folder = "";
let server: Server;
let base = "";

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "kvault-sources-"));
  writeFileSync(join(folder, "a.txt"), "first");
  writeFileSync(join(folder, "b.txt"), "second\n");
  server = createServer((request, response) => {
    const send = (type: string, body: string | Buffer, status = 200): void => {
      response.writeHead(status, type === "" ? {} : { "content-type": type }).end(body);
    };
    const routes: Readonly<Record<string, () => unknown>> = {
      "/page": () => send("text/html; charset=utf-8", PAGE),
      "/latin": () => send("text/plain; charset=iso-8859-1", Buffer.from([0x63, 0x61, 0x66, 0xe9])),
      "/plain": () => send("", "plain"),
      "/json": () => send("application/ld+json", '{"a":1}'),
      "/moved": () => response.writeHead(302, { location: "/plain" }).end(),
      "/round": () => response.writeHead(302, { location: "/round" }).end(),
      "/picture": () => send("image/png", "x"),
      "/wrong": () => send("text/plain", Buffer.from([0xff, 0xfe, 0xfd])),
      "/empty": () => send("text/html", "<html><body><script>1</script></body></html>"),
      "/missing": () => send("text/plain", "no", 404),
      "/endless": () => response.writeHead(200, { "content-type": "text/plain" }).write("x".repeat(2_000)),
      "/silent": () => undefined,
    };
    routes[request.url ?? ""]?.();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

describe("readSources()", () => {
  test("one file or page is its text alone", async () => {
    expect((await readSources([join(folder, "a.txt")], { signal })).text).toBe("first");
    expect((await readSources([`${base}/plain`], { signal })).text).toBe("plain");
  });
  test("several, and folders, have their names over them", async () => {
    const both = await readSources([join(folder, "a.txt"), `${base}/plain`], { signal });
    expect(both.text).toBe(`=== ${join(folder, "a.txt")} ===\nfirst\n\n=== ${base}/plain ===\nplain\n`);
    const all = await readSources([folder], { signal });
    expect(all).toMatchObject({ text: "=== a.txt ===\nfirst\n\n=== b.txt ===\nsecond\n", numFiles: 2 });
    expect((await readSources([folder], { signal, ignore: ["b*"] })).text).toBe("=== a.txt ===\nfirst\n");
  });
  test("a source named twice is a slip", async () => {
    await expect(readSources(["-", "-"], { signal })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      details: { field: "file" },
    });
  });
});

describe("readUrl()", () => {
  const read = (path: string, limits = {}): Promise<string> => readUrl(`${base}${path}`, signal, limits);
  test("HTML becomes its text: no tags, scripts, menus", async () => {
    const text = await read("/page");
    expect(text).toContain("To Lund at 7:40, pier three.");
    expect(text).toMatch(/FERRIES|Ferries/);
    expect(text).toContain("Dogs travel free");
    for (const gone of ["<", "alert", "Menu", "Imprint", "color"]) expect(text).not.toContain(gone);
  });
  test("plain text in its own character set, JSON as it is, redirects followed", async () => {
    expect(await read("/latin")).toBe("café");
    expect(await read("/json")).toBe('{"a":1}');
    expect(await read("/moved")).toBe("plain");
  });
  test.each([
    ["/picture", "it is image/png, not text"],
    ["/wrong", "it is not utf-8 text"],
    ["/empty", "there is no text in it"],
    ["/missing", "the server answered 404 Not Found"],
    ["/round", "redirect count exceeded"],
  ])("%s is refused: %s", async (path, found) => {
    await expect(read(path)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: `Cannot read "${base}${path}": ${found}`,
    });
  });
  test("is bounded in size and time", async () => {
    await expect(read("/endless", { maxBodyBytes: 1_000 })).rejects.toThrow("over 1000 bytes");
    await expect(read("/endless", { timeoutMs: 50 })).rejects.toThrow("not read in 50 ms");
    await expect(read("/silent", { timeoutMs: 50 })).rejects.toThrow("not read in 50 ms");
    await expect(readUrl(`${base}/silent`, AbortSignal.abort())).rejects.toMatchObject({ code: "CANCELLED" });
    await expect(readUrl("http://127.0.0.1:1/", signal)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});
