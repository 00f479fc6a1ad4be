/**
 * /console: the web console, a handful of static files read once at start. They hold no data and
 * need no token; what they show, they ask of /v1 like anybody else.
 *
 * The policy lets a page load from here and nowhere else: no inline script or style, no frame, no
 * other host.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { type ConsoleFile, consoleFiles } from "@kvault/console";
import type { FastifyInstance } from "fastify";

const HEADERS = {
  "content-security-policy": [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types lit-html",
  ].join("; "),
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  // Asked for again every time, answered with 304 while nothing changed.
  "cache-control": "no-cache",
} as const;

export function webConsole(server: FastifyInstance): void {
  server.get("/", (_, reply) => reply.redirect("/console/"));
  server.get("/console", (_, reply) => reply.redirect("/console/"));
  for (const file of consoleFiles()) serve(server, file);
}

function serve(server: FastifyInstance, { path, type, file }: ConsoleFile): void {
  const bytes = readFileSync(file);
  const etag = `"${createHash("sha256").update(bytes).digest("base64url").slice(0, 22)}"`;
  server.get(`/console/${path}`, { logLevel: "silent" }, (request, reply) => {
    void reply.headers(HEADERS).header("etag", etag);
    if (request.headers["if-none-match"] === etag) return reply.code(304).send();
    return reply.type(type).send(bytes);
  });
}
