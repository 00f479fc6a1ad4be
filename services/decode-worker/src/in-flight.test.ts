import { expect, test } from "vitest";
import { InFlight } from "./in-flight.ts";

test("counts queries, those that wait, their tokens, and how many share a context", () => {
  const flights = new InFlight();
  const first = flights.begin("c1");
  const second = flights.begin("c1");
  expect([first.together, second.together, flights.begin("c2").together, flights.begin("").together]).toEqual([1, 2, 1, 1]);
  expect([flights.running, flights.waiting, flights.tokens]).toEqual([4, 4, 4]);
  first.add(3);
  expect([flights.waiting, flights.tokens]).toEqual([3, 7]);
  first.end();
  first.end();
  first.add(5);
  expect([flights.running, flights.waiting, flights.tokens]).toEqual([3, 3, 3]);
  expect(flights.begin("c1").together).toBe(2);
});
