import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ProfileName } from "../types.ts";
import { encodeProfile, type Profile } from "./profile-file.ts";
import { defaultMethod, findProfiles, profilePath, profilesIn } from "./profile-store.ts";

const WEIGHTS = "a".repeat(64);
const MODEL = { name: "m", weightsSha256: WEIGHTS };

function profileOf(name: ProfileName, changes: Partial<Profile> = {}): Profile {
  return {
    ...{ name, model: "m", weightsSha256: WEIGHTS, method: "by hand", seed: 7, shape: [2, 2] },
    texts: [{ name: "a.txt", sha256: "b".repeat(64), tokens: 12 }],
    values: Float32Array.of(1, 2, 3, 4),
    ...changes,
  };
}

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "kvault-profiles-"));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

function put(folder: string, name: ProfileName, bytes: Uint8Array): void {
  mkdirSync(join(root, folder, "m"), { recursive: true });
  writeFileSync(profilePath(join(root, folder), "m", name), bytes);
}

const store = (...folders: string[]) => profilesIn(folders.map((folder) => join(root, folder)));

describe("profilesIn()", () => {
  test("finds a profile with everything it was made of", () => {
    put("own", "kvzip-heads", encodeProfile(profileOf("kvzip-heads")));
    const { digest, ...found } = store("own").find(MODEL, "kvzip-heads")!;
    expect(found).toEqual(profileOf("kvzip-heads"));
    expect(digest).toMatch(/^[0-9a-f]{64}$/);
    expect(store("own").find(MODEL, "layer-errors")).toBeUndefined();
    expect(store("nowhere").find(MODEL, "kvzip-heads")).toBeUndefined();
    expect(store("own").find({ ...MODEL, name: "../own/m" }, "kvzip-heads")).toBeUndefined();
    expect(store("own", "nowhere").modelsWith("kvzip-heads")).toEqual(["m"]);
  });

  test("prefers the earlier folder and sees a file that changed", () => {
    put("built-in", "kvzip-heads", encodeProfile(profileOf("kvzip-heads")));
    const both = store("own", "built-in");
    const before = both.find(MODEL, "kvzip-heads")!;
    put("own", "kvzip-heads", encodeProfile(profileOf("kvzip-heads", { values: Float32Array.of(5, 6, 7, 8) })));
    const after = both.find(MODEL, "kvzip-heads")!;
    expect([before.values[0], after.values[0]]).toEqual([1, 5]);
    expect(before.digest).not.toBe(after.digest);
  });

  test("refuses one made of other weights, and says what to do", () => {
    put("own", "surrogate", encodeProfile(profileOf("surrogate", { weightsSha256: "c".repeat(64) })));
    expect(() => store("own").find(MODEL, "surrogate")).toThrow(
      expect.objectContaining({ code: "INCOMPATIBLE_MODEL", message: expect.stringContaining("kvault calibrate --model m") }),
    );
  });

  test.each<[string, (bytes: Uint8Array) => Uint8Array]>([
    ["cut short", (bytes) => bytes.subarray(0, bytes.length - 1)],
    ["empty", () => new Uint8Array()],
    ["of another name", () => encodeProfile(profileOf("duo-heads"))],
    [
      "with a number that is not finite",
      () => encodeProfile(profileOf("kvzip-heads", { values: Float32Array.of(1, 2, Number.NaN, 4) })),
    ],
  ])("refuses a file that is %s", (_, damage) => {
    put("own", "kvzip-heads", damage(encodeProfile(profileOf("kvzip-heads"))));
    expect(() => store("own").find(MODEL, "kvzip-heads")).toThrow(expect.objectContaining({ code: "MODEL_CORRUPT" }));
  });
});

describe("findProfiles()", () => {
  test("gives what was asked for and its digests by name, whatever the order", () => {
    put("own", "kvzip-heads", encodeProfile(profileOf("kvzip-heads")));
    put("own", "layer-errors", encodeProfile(profileOf("layer-errors")));
    const found = findProfiles(store("own"), MODEL, ["layer-errors", "kvzip-heads"]);
    expect(Object.keys(found.profile).sort()).toEqual(["kvzip-heads", "layer-errors"]);
    expect(found.digests).toMatch(/^kvzip-heads=[0-9a-f]{64},layer-errors=[0-9a-f]{64}$/);
    expect(findProfiles(store("own"), MODEL, ["kvzip-heads", "layer-errors"]).digests).toBe(found.digests);
    expect(findProfiles(store("own"), MODEL, []).digests).toBe("");
  });

  test("names the command that makes what is missing", () => {
    expect(() => findProfiles(store("own"), MODEL, ["retrieval-heads"])).toThrow(
      expect.objectContaining({
        code: "PROFILE_NOT_FOUND",
        message: expect.stringContaining("kvault calibrate --model m --profile retrieval-heads"),
      }),
    );
  });
});

test("defaultMethod() is our own where the model is evaluated and calibrated for it", () => {
  expect(defaultMethod(store("own"), MODEL, new Set(["m"]))).toBe("kvzip");
  put("own", "surrogate", encodeProfile(profileOf("surrogate")));
  expect(defaultMethod(store("own"), MODEL, new Set(["m"]))).toBe("kvault");
  expect(defaultMethod(store("own"), MODEL, new Set())).toBe("kvzip");
});
