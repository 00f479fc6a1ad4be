/** What services say, a line each on standard error: who, when, which contexts, and errors by code. @module */
import { isKvaultError } from "@kvault/core";

interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export function createLog(service: string): Log {
  const write = (level: string) => (fields: object, message: string) => {
    const at = new Date().toISOString().slice(11);
    process.stderr.write(`${at} ${service} ${level} ${message} ${JSON.stringify(fields, readable)}\n`);
  };
  return { info: write("info"), warn: write("warn"), error: write("error") };
}

function readable(_: string, value: unknown): unknown {
  if (isKvaultError(value)) return `${value.code}: ${value.message}`;
  if (value instanceof Error) return value.stack ?? value.message;
  return typeof value === "bigint" ? String(value) : value;
}
