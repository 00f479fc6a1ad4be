import { describe, expect, test } from "vitest";
import { createLogger, type LogLevel } from "./logger.ts";

function capture(level: LogLevel = "info") {
  const lines: string[] = [];
  const logger = createLogger({ service: "gateway", level, destination: { write: (line: string) => void lines.push(line) } });
  return { logger, parsed: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>) };
}

describe("createLogger()", () => {
  test("writes one JSON object with service, level name, time, fields and message", () => {
    const { logger, parsed } = capture();
    logger.info({ requestId: "r1", durationMs: 3 }, "call ended");
    expect(parsed()).toEqual([
      expect.objectContaining({
        service: "gateway",
        level: "info",
        requestId: "r1",
        durationMs: 3,
        msg: "call ended",
        time: expect.any(String),
      }),
    ]);
  });

  test("keeps what customers wrote and secrets out, also when nested", () => {
    const { logger, parsed } = capture();
    logger.warn({ text: "SECRET", request: { question: "SECRET", auth: { token: "SECRET" } }, contextId: "c1" }, "oops");
    expect(JSON.stringify(parsed())).not.toContain("SECRET");
    expect(parsed()[0]).toMatchObject({ contextId: "c1", text: "[redacted]" });
  });

  test("child() keeps the redaction", () => {
    const { logger, parsed } = capture();
    logger.child({ component: "queue" }).info({ content: "SECRET" }, "m");
    expect(parsed()[0]).toMatchObject({ component: "queue", content: "[redacted]" });
  });

  test("writes nothing under its level", () => {
    const { logger, parsed } = capture("error");
    logger.info({}, "quiet");
    expect(parsed()).toEqual([]);
  });
});
