import { describe, expect, test } from "vitest";
import { contentSha256 } from "./content-id.ts";

describe("contentSha256()", () => {
  // Computed with CPython's hashlib and struct.
  test("has golden digests", () => {
    expect(contentSha256({ text: "Hello, wörld" })).toBe("9a042d79f3947a846e5e0e833949ac414410e38316eaee937fa572e7eb2490f4");
    const messages = [
      { role: "system", content: "Be brief" },
      { role: "user", content: "Hello, wörld" },
    ];
    expect(contentSha256({ messages })).toBe("e70f79caf465837ba141b4ff21d7b0f6ff3aa14a7512b5175e82d31fd1ccb53d");
  });

  test("tells apart spaces, Unicode forms, roles, grouping and kind", () => {
    const contents = [
      { text: "a" },
      { text: "a " },
      { text: "a\n" },
      { text: "\u00e9" },
      { text: "e\u0301" },
      { text: "" },
      { messages: [] },
      { messages: [{ role: "user", content: "a" }] },
      { messages: [{ role: "system", content: "a" }] },
      { messages: [{ role: "usera", content: "" }] },
      {
        messages: [
          { role: "user", content: "a" },
          { role: "user", content: "" },
        ],
      },
    ];
    expect(new Set(contents.map(contentSha256)).size).toBe(contents.length);
  });

  test("refuses text without a UTF-8 form", () => {
    const refused = expect.objectContaining({ code: "INVALID_ARGUMENT", details: { field: "content" } });
    expect(() => contentSha256({ text: "\ud83d" })).toThrow(refused);
    expect(() => contentSha256({ messages: [{ role: "user", content: "\ude00" }] })).toThrow(refused);
  });
});
