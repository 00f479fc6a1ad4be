#!/usr/bin/env node
import { existsSync } from "node:fs";

const main = new URL("../dist/main.js", import.meta.url);
if (existsSync(main)) {
  await import(main.href);
} else {
  console.error("Cannot start kvault: it has not been compiled. Run `make build` first.");
  process.exitCode = 1;
}
