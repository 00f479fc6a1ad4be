/** A real S3 server (versitygw) over a directory, with one bucket. @module */
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { TestProcess } from "./test-process.ts";

export const S3_BUCKET = "contexts";
const ACCESS_KEY = "test-access";
const SECRET_KEY = "test-secret-of-the-test-server";

/** Starts the server, and lets the SDK of this process find its credentials where it looks for them. */
export async function startS3(): Promise<TestProcess> {
  process.env["AWS_ACCESS_KEY_ID"] = ACCESS_KEY;
  process.env["AWS_SECRET_ACCESS_KEY"] = SECRET_KEY;
  const server = await TestProcess.create({
    program: "versitygw",
    args: (port, directory) => ["--port", `127.0.0.1:${port}`, "--quiet", "--keep-alive", "posix", directory],
    env: { ROOT_ACCESS_KEY: ACCESS_KEY, ROOT_SECRET_KEY: SECRET_KEY },
    isUp: async (port) => (await fetch(`http://127.0.0.1:${port}/`)).status > 0,
  });
  // A bucket is a folder of the directory it serves.
  await mkdir(path.join(server.directory, S3_BUCKET));
  return server;
}

/** `s3://…` of `prefix` in the test bucket, through `port` (the server's own, or a proxy's). */
export function s3Url(port: number, prefix: string, more: Readonly<Record<string, string>> = {}): string {
  const query = new URLSearchParams({ endpoint: `http://127.0.0.1:${port}`, region: "us-east-1", ...more });
  return `s3://${S3_BUCKET}/${prefix}?${query}`;
}
