import { describe, expect, test } from "vitest";
import { alignedView, bytesOf } from "./align.ts";

describe("alignedView()", () => {
  test("shares memory when aligned", () => {
    const bytes = new Uint8Array(16);
    alignedView(bytes.subarray(8), Float32Array)[0] = 1;
    expect([...bytes.subarray(8, 12)]).toEqual([0, 0, 128, 63]);
  });

  test("copies when misaligned, whatever the offset and the kind of bytes", () => {
    const values = Float32Array.of(1.5, -2, 1e10);
    for (let offset = 0; offset < 8; offset++) {
      const plain = new Uint8Array(32);
      plain.set(bytesOf(values), offset);
      for (const bytes of [plain, Buffer.from(plain)]) {
        expect([...alignedView(bytes.subarray(offset, offset + 12), Float32Array)]).toEqual([...values]);
      }
    }
  });

  test("refuses a length that is no multiple of the element", () => {
    expect(() => alignedView(new Uint8Array(6), Uint32Array)).toThrow("Cannot view 6 bytes as elements of 4 bytes");
  });
});

describe("bytesOf()", () => {
  test("covers exactly the view, sharing memory", () => {
    const values = Uint16Array.of(1, 2, 3, 4).subarray(1, 3);
    const bytes = bytesOf(values);
    expect([...bytes]).toEqual([2, 0, 3, 0]);
    bytes[0] = 9;
    expect(values[0]).toBe(9);
  });
});
