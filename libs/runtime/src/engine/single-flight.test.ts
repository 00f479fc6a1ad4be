import { describe, expect, test } from "vitest";
import { SingleFlight } from "./single-flight.ts";

/** Work that ends when told, and knows whether it was stopped. */
function controlled() {
  const state = { started: 0, finish: (_: string) => {}, fail: (_: Error) => {}, signal: undefined as AbortSignal | undefined };
  const work = (signal: AbortSignal): Promise<string> => {
    state.started++;
    state.signal = signal;
    return new Promise((resolve, reject) => {
      state.finish = resolve;
      state.fail = reject;
    });
  };
  return { state, work };
}

describe("SingleFlight", () => {
  test("does the work once for all who ask at the same time, and tells who started it", async () => {
    const flights = new SingleFlight<string>();
    const { state, work } = controlled();
    const both = Promise.all([flights.run("k", work), flights.run("k", work)]);
    state.finish("done");
    expect(await both).toEqual([
      { value: "done", leader: true },
      { value: "done", leader: false },
    ]);
    expect(state.started).toBe(1);
  });

  test("does it again for the next one who asks", async () => {
    const flights = new SingleFlight<string>();
    const { state, work } = controlled();
    const first = flights.run("k", work);
    state.finish("1");
    await first;
    const second = flights.run("k", work);
    state.finish("2");
    expect((await second).value).toBe("2");
  });

  test("goes on for the others when one leaves", async () => {
    const flights = new SingleFlight<string>();
    const { state, work } = controlled();
    const controller = new AbortController();
    const leaving = flights.run("k", work, controller.signal);
    const staying = flights.run("k", work);
    controller.abort();
    await expect(leaving).rejects.toMatchObject({ code: "CANCELLED" });
    expect(state.signal?.aborted).toBe(false);
    state.finish("done");
    expect((await staying).value).toBe("done");
  });

  test("stops the work when all have left, and a latecomer starts anew", async () => {
    const flights = new SingleFlight<string>();
    const first = controlled();
    const controller = new AbortController();
    const leaving = flights.run("k", first.work, controller.signal);
    controller.abort();
    await expect(leaving).rejects.toMatchObject({ code: "CANCELLED" });
    expect(first.state.signal?.aborted).toBe(true);
    const second = controlled();
    const late = flights.run("k", second.work);
    first.state.fail(new Error("stopped"));
    second.state.finish("anew");
    expect((await late).value).toBe("anew");
  });

  test("gives every one the failure, and tries again for the next", async () => {
    const flights = new SingleFlight<string>();
    const { state, work } = controlled();
    const both = Promise.allSettled([flights.run("k", work), flights.run("k", work)]);
    state.fail(new Error("broken"));
    for (const outcome of await both) expect(outcome).toMatchObject({ status: "rejected", reason: { message: "broken" } });
    const again = flights.run("k", work);
    state.finish("fine");
    expect((await again).value).toBe("fine");
  });
});
