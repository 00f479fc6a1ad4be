/**
 * A real server as a child process in a directory of its own: started on a free port, stopped,
 * killed, paused. Its data stays between {@link TestProcess.start} and the next one, so a test
 * can kill a server and bring it back; {@link TestProcess.remove} ends all.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { CACHE_DIR } from "../cache-dir.ts";

const START_MS = 15_000;
const STOP_MS = 5_000;

export interface TestProcessPlan {
  /** A program of `make test-servers`. */
  readonly program: string;
  readonly args: (port: number, directory: string) => readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Resolves true when the server answers on `port`. */
  readonly isUp: (port: number) => Promise<boolean>;
}

export class TestProcess {
  readonly port: number;
  readonly directory: string;
  readonly #plan: TestProcessPlan;
  #child: ChildProcess | undefined;
  #output = "";

  private constructor(plan: TestProcessPlan, port: number, directory: string) {
    this.#plan = plan;
    this.port = port;
    this.directory = directory;
  }

  static async create(plan: TestProcessPlan): Promise<TestProcess> {
    const directory = await mkdtemp(path.join(tmpdir(), `kvault-${plan.program}-`));
    const server = new TestProcess(plan, await freePort(), directory);
    await server.start();
    return server;
  }

  /** Starts it (again), with the data it had; resolves when it answers. */
  async start(): Promise<void> {
    const { program, args, env, isUp } = this.#plan;
    const child = spawn(programPath(program), args(this.port, this.directory), {
      cwd: this.directory,
      env: { PATH: process.env["PATH"], ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    const keep = (data: Buffer): void => {
      this.#output = (this.#output + data.toString()).slice(-4_000);
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    child.on("error", (error) => keep(Buffer.from(String(error))));
    // A killed test run leaves no server behind.
    const reap = (): void => void child.kill("SIGKILL");
    process.once("exit", reap);
    child.once("close", () => process.off("exit", reap));
    for (const started = Date.now(); !(await isUp(this.port).catch(() => false)); ) {
      if (child.exitCode !== null || Date.now() - started > START_MS) {
        throw new Error(`Cannot start ${program}: ${this.#output || `no answer in ${START_MS} ms`}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** As an operator would stop it: it may save and say goodbye. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, "close");
    child.kill("SIGCONT");
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    await closed;
    clearTimeout(late);
  }

  async kill9(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, "close");
    child.kill("SIGKILL");
    await closed;
  }

  /** The process stops where it is, connections stay open and nothing answers; resolves when every thread stands. */
  async pause(): Promise<void> {
    const pid = this.#child?.pid;
    if (pid === undefined) return;
    process.kill(pid, "SIGSTOP");
    const deadlineMs = Date.now() + STOP_MS;
    while (!(await standsStill(pid)) && Date.now() < deadlineMs) await pause(2);
  }

  resume(): void {
    this.#child?.kill("SIGCONT");
  }

  /** Ends the server and removes its directory. */
  async remove(): Promise<void> {
    await this.kill9();
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** A port nobody listens on at the moment. */
async function freePort(): Promise<number> {
  const probe = net.createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as net.AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}

function programPath(program: string): string {
  const file = path.join(CACHE_DIR, "test-servers", "bin", program);
  if (!existsSync(file)) throw new Error(`Cannot start ${program}: not set up, run "make test-servers"`);
  return file;
}

/** True when every thread of `pid` is stopped; where the system does not tell, at once. */
async function standsStill(pid: number): Promise<boolean> {
  const tasks = `/proc/${pid}/task`;
  if (!existsSync(tasks)) return true;
  const stats = await Promise.all((await readdir(tasks)).map((id) => readFile(`${tasks}/${id}/stat`, "utf8").catch(() => "")));
  return stats.every((stat) => stat === "" || stat.slice(stat.lastIndexOf(")") + 2).startsWith("T"));
}
