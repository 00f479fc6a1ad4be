import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ALLOCATORS, CODECS, SCORERS, SELECTORS } from "./registry.ts";
import { type CompressionSpec, didYouMean, MAX_SPEC_CHARS, type PartSpec, parsePart, parseSpec, printSpec } from "./spec.ts";

const FULL = "kvzip(chunk=2000,form=paper)|global|top-k(keep=0.3)|f16";

/** Any part of a table with its parameters at their defaults, but for those drawn here. */
function partOf(table: ReadonlyMap<string, { readonly name: string; readonly params: { parse(given: unknown): unknown } }>) {
  const draws: Record<string, fc.Arbitrary<unknown>> = {
    chunk: fc.integer({ min: 16, max: 65_536 }),
    form: fc.constantFrom("paper", "kvpress"),
    seed: fc.integer({ min: 0, max: 0xffffffff }),
    sinks: fc.integer({ min: 0, max: 65_536 }),
    keep: fc.double({ min: 0, max: 1, minExcluded: true, noNaN: true }),
  };
  return fc.constantFrom(...table.values()).chain((factory) => {
    const defaults = factory.params.parse({}) as Record<string, unknown>;
    const params = Object.entries(defaults).map(([name, value]) => [name, draws[name] ?? fc.constant(value)] as const);
    return fc.record({
      name: fc.constant(factory.name),
      params: fc.record(Object.fromEntries(params)),
    }) as fc.Arbitrary<PartSpec>;
  });
}

const anySpec: fc.Arbitrary<CompressionSpec> = fc.record({
  scorer: partOf(SCORERS),
  allocator: partOf(ALLOCATORS),
  selector: partOf(SELECTORS),
  codec: partOf(CODECS),
});

function errorOf(text: string): unknown {
  try {
    return parseSpec(text);
  } catch (error) {
    return error;
  }
}

describe("parseSpec()", () => {
  test("reads what printSpec() prints, every number exactly", () => {
    fc.assert(
      fc.property(anySpec, (spec) => {
        expect(parseSpec(printSpec(spec))).toEqual(spec);
      }),
    );
  });

  test("fills in defaults, in the order of the schema, whatever the order and spacing given", () => {
    expect(printSpec(parseSpec("kvzip|global|top-k|f16"))).toBe(FULL);
    expect(printSpec(parseSpec(" kvzip ( form = paper , chunk=2e3 ) | global ( ) | top-k(keep=.30)|f16 "))).toBe(FULL);
  });

  test.each([
    ["", 1, "found the end, expected a name"],
    ["kvzip||top-k|f16", 7, 'found "|", expected a name'],
    ["kvzip|global|top-k", 19, "found 3 of 4 parts"],
    ["kvzip|global|top-k|refit|f16|f16", 33, "found 6 of 4 parts"],
    ["kvzip(chunk=256)", 17, "as in kvzip|global|top-k(keep=0.3)|f16"],
    ["kvzip(chunk|global|top-k|f16", 12, 'expected "=" after "chunk"'],
    ["kvzip(chunk=)|global|top-k|f16", 13, 'expected a number or a word for "chunk"'],
    ["kvzip(chunk=2k)|global|top-k|f16", 13, 'expected a number or a word for "chunk"'],
    ["kvzip(chunk=256|global|top-k|f16", 16, 'expected "," or ")"'],
    ["kvzip(chunk=256,)|global|top-k|f16", 17, "expected a parameter name"],
    ["kvzip|global|top-k|f16;", 23, 'expected "|" or the end'],
    ["kvzip(chunk=2)|global|top-k|f16", 7, "found chunk=2"],
    ["kvzip(chunk=20.5)|global|top-k|f16", 7, "found chunk=20.5"],
    ["kvzip(form=papr)|global|top-k|f16", 7, "found form=papr"],
    ["kvzip|global|top-k(keep=0)|f16", 20, "found keep=0"],
    ["kvzip|global|top-k(keep=1.5)|f16", 20, "found keep=1.5"],
    ["kvzip|global|top-k(keep=nan)|f16", 20, "found keep=nan"],
    ["kvzip|global|top-k(keep=1e999)|f16", 20, "found keep=1e999"],
    ["random(seed=1,seed=1)|global|top-k|f16", 15, 'found parameter "seed" for the second time'],
    ["kvzip(chnk=256)|global|top-k|f16", 7, '(did you mean "chunk"?), known are chunk, form'],
    ["kvzip|global(floor=1)|top-k|f16", 14, "known are none"],
    ["kvzip(__proto__=1)|global|top-k|f16", 7, 'found "_"'],
  ])("refuses %j at character %i", (text, position, what) => {
    expect(errorOf(text)).toMatchObject({
      code: "SPEC_INVALID",
      message: expect.stringContaining(what),
      details: { position },
    });
  });

  test.each([
    ["kvzp|global|top-k|f16", "scorer", 1, 'did you mean "kvzip"?'],
    ["kvzip|unifrm|top-k|f16", "allocator", 7, 'did you mean "uniform"?'],
    ["kvzip|global|topk|f16", "selector", 14, 'did you mean "top-k"?'],
    ["kvzip|global|top-k|zstd", "codec", 20, "known are f16, f32, int8"],
    ["constructor|global|top-k|f16", "scorer", 1, "known are kvzip"],
  ])("finds no part in %j", (text, role, position, what) => {
    expect(errorOf(text)).toMatchObject({
      code: "METHOD_NOT_FOUND",
      message: expect.stringContaining(what),
      details: { role, position },
    });
  });

  test("refuses a text above the limit without reading it", () => {
    expect(errorOf(`${FULL}${" ".repeat(MAX_SPEC_CHARS)}`)).toMatchObject({ code: "SPEC_INVALID" });
  });

  test("refuses anything or returns a spec it can print", () => {
    const soup = fc.string({ unit: fc.constantFrom(..."kvzip|global(top-k)=0.3,f16e+ _"), maxLength: 60 });
    fc.assert(
      fc.property(soup, (text) => {
        const found = errorOf(text);
        if (found instanceof Error) expect(found).toMatchObject({ name: "KvaultError" });
        else expect(parseSpec(printSpec(found as CompressionSpec))).toEqual(found);
      }),
      { numRuns: 500 },
    );
  });
});

describe("parsePart()", () => {
  test("reads one part of the role", () => {
    expect(parsePart("kvzip(chunk=256)", "scorer")).toEqual({ name: "kvzip", params: { chunk: 256, form: "paper" } });
    expect(() => parsePart("f16", "scorer")).toThrow(expect.objectContaining({ code: "METHOD_NOT_FOUND" }));
    expect(() => parsePart("f16|f16", "codec")).toThrow(expect.objectContaining({ code: "SPEC_INVALID" }));
  });
});

describe("didYouMean()", () => {
  test("suggests a near name and nothing else", () => {
    expect(didYouMean("streaming_llm", ["l2norm", "streaming-llm"])).toContain('"streaming-llm"');
    expect(didYouMean("snapkv", ["l2norm", "kvzip"])).toBe("");
    expect(didYouMean("x", [])).toBe("");
  });
});
