import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytesOf } from "./align.ts";
import { sha256Hex } from "./digest.ts";
import { decodeF16, encodeF16, f16FromNumber, numberFromF16 } from "./f16.ts";

const ALL_HALVES = Uint16Array.from({ length: 65536 }, (_, half) => half);
const INFINITY = 0x7c00;
const isNaNHalf = (half: number): boolean => (half & 0x7fff) > INFINITY;

/** IEEE 754 binary16, read from the written-out bits. */
function numberFromF16Reference(half: number): number {
  const bits = half.toString(2).padStart(16, "0");
  const sign = bits[0] === "1" ? -1 : 1;
  const exponent = Number.parseInt(bits.slice(1, 6), 2);
  const fraction = Number.parseInt(bits.slice(6), 2) / 1024;
  if (exponent === 0b11111) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -14 : (1 + fraction) * 2 ** (exponent - 15));
}

/** The f32 next to a positive, finite `value`, one step up or down. */
function neighbour(value: number, step: 1 | -1): number {
  const cell = new Float32Array([value]);
  const bits = new Uint32Array(cell.buffer);
  bits[0] = (bits[0] as number) + step;
  return cell[0] as number;
}

describe("numberFromF16()", () => {
  test("reads all 65536 halves as the standard defines them", () => {
    for (const half of ALL_HALVES) {
      if (!Object.is(numberFromF16(half), numberFromF16Reference(half))) expect.fail(`half ${half} is ${numberFromF16(half)}`);
    }
  });

  test("agrees with CPython's struct on all halves that are numbers", () => {
    // sha256 over struct.pack("<f", struct.unpack("<e", …)) of each, in order.
    const numbers = decodeF16(ALL_HALVES.filter((half) => !isNaNHalf(half)));
    expect(sha256Hex(bytesOf(numbers))).toBe("680bbc22915f61aa1bbfc7265bc3882a6aa42d299bfd2c571807196e5544de2e");
  });
});

describe("f16FromNumber()", () => {
  test("inverts numberFromF16() on every half", () => {
    for (const half of ALL_HALVES) {
      const back = f16FromNumber(numberFromF16(half));
      if (isNaNHalf(half) ? !isNaNHalf(back) : back !== half) expect.fail(`half ${half} came back as ${back}`);
    }
  });

  test("rounds midpoints to the even neighbour and anything beside them to the nearer, everywhere", () => {
    for (let low = 0; low < INFINITY; low++) {
      const high = low + 1;
      // Beyond the largest finite half the standard rounds as if 65536 followed.
      const above = high === INFINITY ? 65536 : numberFromF16(high);
      const middle = (numberFromF16(low) + above) / 2;
      const even = low % 2 === 0 ? low : high;
      const found = [f16FromNumber(neighbour(middle, -1)), f16FromNumber(middle), f16FromNumber(neighbour(middle, 1))];
      const mirrored = f16FromNumber(-middle) & 0x7fff;
      if (found[0] !== low || found[1] !== even || found[2] !== high || mirrored !== even) {
        expect.fail(`around ${middle}, between halves ${low} and ${high}: ${found}, mirrored ${mirrored}`);
      }
    }
  });

  test("keeps signed zeros, infinities and NaN", () => {
    expect(f16FromNumber(0)).toBe(0);
    expect(f16FromNumber(-0)).toBe(0x8000);
    expect(f16FromNumber(Number.POSITIVE_INFINITY)).toBe(INFINITY);
    expect(f16FromNumber(-1e9)).toBe(INFINITY | 0x8000);
    expect(numberFromF16(f16FromNumber(Number.NaN))).toBeNaN();
  });
});

describe("encodeF16()", () => {
  test("gives what f16FromNumber() gives, value by value, also in a view at an offset", () => {
    fc.assert(
      fc.property(fc.float32Array({ maxLength: 40 }), fc.nat(3), (values, skip) => {
        const view = values.subarray(Math.min(skip, values.length));
        expect([...encodeF16(view)]).toEqual([...view].map(f16FromNumber));
      }),
    );
  });
});

describe("decodeF16()", () => {
  test("writes into the array given", () => {
    const out = new Float32Array(2);
    expect(decodeF16(Uint16Array.of(0x3c00, 0xc000), out)).toBe(out);
    expect([...out]).toEqual([1, -2]);
  });
});
