/**
 * Addresses are `host:port` or `unix:/path`. Port 0 asks for a free one.
 *
 * @module
 */
import { lstat, unlink } from "node:fs/promises";
import { connect } from "node:net";
import { KvaultError } from "@kvault/core";

/** Longest path of a unix socket, bytes (sun_path less its terminator on the smaller systems). */
const MAX_SOCKET_PATH_BYTES = 103;

/** Path of a `unix:` address, else undefined. */
export function unixPath(address: string): string | undefined {
  return address.startsWith("unix:") ? address.slice("unix:".length).replace(/^\/\//, "") : undefined;
}

const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\]):\d+$/i;

/** Whether only this machine can reach `address`: a unix socket, or a loopback interface. */
export function isLoopback(address: string): boolean {
  return unixPath(address) !== undefined || LOOPBACK.test(address);
}

/** `address` with the port that was bound in place of 0. */
export function boundAddress(address: string, port: number): string {
  return unixPath(address) === undefined ? address.replace(/:\d+$/, `:${port}`) : address;
}

/**
 * Checks a unix path before listening and removes the socket that a killed process left there.
 * A socket that still answers is left alone: listening then fails as it should.
 */
export async function clearStaleSocket(path: string): Promise<void> {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    throw new KvaultError(
      "INVALID_ARGUMENT",
      `Cannot listen on "${path}": ${Buffer.byteLength(path)} bytes, at most ${MAX_SOCKET_PATH_BYTES}`,
      {
        details: { field: "address" },
      },
    );
  }
  const stats = await lstat(path).catch(() => undefined);
  if (stats?.isSocket() && !(await answers(path))) await unlink(path).catch(() => undefined);
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
