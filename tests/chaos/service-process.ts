/**
 * A service that is started again whenever it ends, as an orchestrator would do it: killed, paused
 * and gone on with from outside.
 *
 * @module
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { type FileHandle, open } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { childrenOf } from "../e2e/support/kvault.ts";
import type { ServicePlan } from "./service-main.ts";

const ENTRY = fileURLToPath(new URL("./service-main.ts", import.meta.url));
/** A service that is not there after this long is started again. */
const START_MS = 40_000;
const RESTART_MS = 300;
const STOP_MS = 12_000;

export class ServiceProcess {
  readonly plan: ServicePlan;
  /** Starts that were not asked for: the service ended by itself. */
  selfExits = 0;
  readonly #logFile: FileHandle;
  #child: ChildProcess | undefined;
  #ready: Promise<void>;
  #stopping = false;
  /** Of the process that runs. */
  #wasReady = false;
  /** After a kill it stays away for so long. */
  #downMs = RESTART_MS;
  #killed = false;

  private constructor(plan: ServicePlan, logFile: FileHandle) {
    this.plan = plan;
    this.#logFile = logFile;
    this.#ready = this.#start();
  }

  static async start(plan: ServicePlan, logPath: string): Promise<ServiceProcess> {
    return new ServiceProcess(plan, await open(logPath, "a"));
  }

  /** Resolves when the service that runs now (or the one that is started next) is ready. */
  async ready(): Promise<void> {
    for (let last: Promise<void> | undefined; last !== this.#ready; ) {
      last = this.#ready;
      await last;
    }
  }

  kill(downMs: number): boolean {
    if (this.#child?.exitCode !== null || this.#child.signalCode !== null) return false;
    this.#downMs = downMs;
    this.#killed = true;
    this.#child.kill("SIGCONT");
    return this.#child.kill("SIGKILL");
  }

  /** Kills its engines alone; whether there was one. */
  killEngine(): boolean {
    const engines = this.#child?.pid === undefined ? [] : childrenOf(this.#child.pid);
    for (const pid of engines) {
      try {
        process.kill(pid, "SIGKILL");
      } catch {
        // Gone by itself.
      }
    }
    return engines.length > 0;
  }

  pause(): void {
    this.#child?.kill("SIGSTOP");
  }

  resume(): void {
    this.#child?.kill("SIGCONT");
  }

  /** SIGTERM; false when it was ready and did not end by itself, in its time and well. */
  async stop(): Promise<boolean> {
    this.#stopping = true;
    const child = this.#child;
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      const exited = once(child, "exit");
      child.kill("SIGCONT");
      child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
      await exited;
      clearTimeout(late);
    }
    await this.#logFile.close();
    return child?.exitCode === 0 || !this.#wasReady;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  #start(): Promise<void> {
    const child = fork(ENTRY, [JSON.stringify(this.plan)], {
      execArgv: ["--import", "tsx"],
      stdio: ["ignore", this.#logFile.fd, this.#logFile.fd, "ipc"],
    });
    this.#child = child;
    this.#wasReady = false;
    const late = setTimeout(() => child.kill("SIGKILL"), START_MS);
    return new Promise((resolve) => {
      child.once("message", () => {
        clearTimeout(late);
        this.#wasReady = true;
        resolve();
      });
      child.once("exit", (code, signal) => {
        clearTimeout(late);
        resolve();
        if (this.#stopping) return;
        if (!this.#killed) {
          this.selfExits++;
          void this.#logFile.write(`${this.plan.name} ended by itself: ${code ?? signal}\n`).catch(() => undefined);
        }
        const downMs = this.#killed ? this.#downMs : RESTART_MS;
        this.#killed = false;
        this.#ready = new Promise((up) => {
          setTimeout(() => {
            if (this.#stopping) up();
            else void this.#start().then(up);
          }, downMs);
        });
      });
    });
  }
}
