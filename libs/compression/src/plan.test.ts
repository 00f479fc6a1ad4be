import { describe, expect, test } from "vitest";
import { codecFromSpec, resolveSpec, scorerFromSpec } from "./plan.ts";

describe("resolveSpec()", () => {
  test.each([
    ["none", "none|uniform|top-k(keep=1)|f16"],
    ["kvzip", "kvzip(chunk=2000,form=paper)|global|top-k(keep=0.3)|f16"],
    ["kvzip-uniform", "kvzip(chunk=2000,form=paper)|uniform|top-k(keep=0.3)|f16"],
    ["l2norm", "l2norm|uniform|top-k(keep=0.5)|f16"],
    ["streaming-llm", "streaming-llm(sinks=4)|uniform|top-k(keep=0.5)|f16"],
  ])("reads preset %s", (name, spec) => {
    expect(resolveSpec(name).spec).toBe(spec);
    expect(resolveSpec(` ${name} `).spec).toBe(spec);
    expect(resolveSpec(spec).spec).toBe(spec);
  });

  test("lets the keep ratio override the text and shows it in the spec", () => {
    const plan = resolveSpec("kvzip(chunk=256,form=kvpress)|global|top-k(keep=0.9)|int8", 0.25);
    expect(plan.spec).toBe("kvzip(chunk=256,form=kvpress)|global|top-k(keep=0.25)|int8");
    expect(plan.keepRatio).toBe(0.25);
    expect(plan.codecSpec).toBe("int8");
    expect(plan.queryAgnostic).toBe(true);
    expect(plan.repeatPass).toMatchObject({ chunkTokens: 256, form: "kvpress" });
  });

  test.each([0, -0.1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])("refuses a keep ratio of %d by its field", (keepRatio) => {
    expect(() => resolveSpec("kvzip", keepRatio)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", details: { field: "keep_ratio", found: String(keepRatio) } }),
    );
  });

  test("asks for nothing where everything is kept", () => {
    const plan = resolveSpec("kvzip", 1);
    expect(plan.needs.size).toBe(0);
    expect(plan).not.toHaveProperty("repeatPass");
    expect([...resolveSpec("kvzip").needs]).toEqual(["repeat-attention"]);
  });

  test("refuses to evict by a scorer that ranks nothing", () => {
    expect(resolveSpec("none", 1).keepRatio).toBe(1);
    for (const run of [() => resolveSpec("none", 0.5), () => resolveSpec("none|global|top-k|f16")]) {
      expect(run).toThrow(expect.objectContaining({ code: "SPEC_INVALID" }));
    }
  });

  test("names the presets when there is no such one", () => {
    expect(() => resolveSpec("kvzp")).toThrow(
      expect.objectContaining({
        code: "METHOD_NOT_FOUND",
        message: expect.stringMatching(/did you mean "kvzip".*streaming-llm/),
      }),
    );
    expect(() => resolveSpec("SnapKV")).toThrow(expect.objectContaining({ code: "METHOD_NOT_FOUND" }));
    expect(() => resolveSpec("constructor")).toThrow(expect.objectContaining({ code: "METHOD_NOT_FOUND" }));
    expect(() => resolveSpec("random")).toThrow(expect.objectContaining({ code: "SPEC_INVALID" }));
  });
});

describe("scorerFromSpec()", () => {
  test.each([
    ["kvzip(chunk=256,form=kvpress)", "kvzip(chunk=256,form=kvpress)"],
    ["random", "random(seed=0)"],
    ["kvzip-uniform", "kvzip(chunk=2000,form=paper)"],
    ["l2norm|global|top-k|f32", "l2norm"],
  ])("takes the scorer of %j", (text, spec) => {
    expect(scorerFromSpec(text).spec).toBe(spec);
  });

  test("refuses what names no scorer", () => {
    expect(() => scorerFromSpec("f16")).toThrow(expect.objectContaining({ code: "METHOD_NOT_FOUND" }));
  });
});

describe("codecFromSpec()", () => {
  test("refuses what this build cannot read", () => {
    expect(codecFromSpec("f32").maxRelativeError).toBe(0);
    for (const text of ["cachegen(bits=4)", "int8(group=32)", "", "f16|f16"]) {
      expect(() => codecFromSpec(text)).toThrow(
        expect.objectContaining({ code: "INCOMPATIBLE_FORMAT", details: { field: "codec", found: text } }),
      );
    }
  });
});
