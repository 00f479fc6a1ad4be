/** A real Redis for one test file, with an append-only file unless told otherwise. @module */
import net from "node:net";
import { TestProcess } from "./test-process.ts";

/** `settings` are lines of redis.conf, e.g. `["maxmemory 8mb", "maxmemory-policy noeviction"]`. */
export function startRedis(settings: readonly string[] = []): Promise<TestProcess> {
  const extra = settings.flatMap((line) => {
    const [name, ...words] = line.split(" ");
    return [`--${name}`, ...words];
  });
  return TestProcess.create({
    program: "redis-server",
    args: (port, directory) => [
      ...["--port", `${port}`, "--bind", "127.0.0.1", "--dir", directory],
      ...["--save", "", "--appendonly", "yes", "--appendfsync", "everysec", ...extra],
    ],
    isUp: async (port) => /PONG|NOAUTH/.test(await redisCommand(port, "PING")),
  });
}

/** The first reply to one inline command, as text: for setting a server up, and for looking into it. */
export function redisCommand(port: number, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, "127.0.0.1", () => socket.write(`${command}\r\n`));
    socket.once("data", (data) => {
      socket.destroy();
      resolve(data.toString());
    });
    socket.once("error", reject);
    socket.setTimeout(2_000, () => socket.destroy(new Error(`Cannot get a reply from Redis on port ${port}: 2 s passed`)));
  });
}
