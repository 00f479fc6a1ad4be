/**
 * A real Kubernetes API server over a real etcd, with the controllers that make pods of Deployments
 * and EndpointSlices of Services; on loopback, with RBAC on, gone with its folder. No nodes: what
 * kubelets would say of pods is said by the test.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../e2e/support/kvault.ts";
import { run, toolPath } from "./tools.ts";

const READY_MS = 120_000;

export interface ApiServer {
  readonly port: number;
  /** `kubectl …args` as an administrator; `input` goes to its standard input. */
  kubectl(args: readonly string[], input?: string): Promise<string>;
  /** The same as a command line of a shell. */
  readonly kubectlCommand: string;
  /** A folder as pods have it: token of the service account, authority, namespace. */
  accountDir(namespace: string, account: string): Promise<string>;
  stop(): Promise<void>;
}

export async function startApiServer(): Promise<ApiServer> {
  const folder = await mkdtemp(join(tmpdir(), "kvault-api-"));
  const at = (name: string): string => join(folder, name);
  const children: ChildProcess[] = [];
  let output = "";
  const launch = (program: string, args: readonly string[]): void => {
    const child = spawn(toolPath(program), args, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
    child.stderr?.on("data", (data: Buffer) => {
      output = (output + data.toString()).slice(-4_000);
    });
    const reap = (): void => void child.kill("SIGKILL");
    process.once("exit", reap);
    child.once("close", () => process.off("exit", reap));
    children.push(child);
  };
  const stop = async (): Promise<void> => {
    for (const child of children.splice(0).reverse()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const closed = once(child, "close");
      child.kill("SIGKILL");
      await closed;
    }
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const [etcdPort, peerPort, port] = [await freePort(), await freePort(), await freePort()];
    const etcd = `http://127.0.0.1:${etcdPort}`;
    const peer = `http://127.0.0.1:${peerPort}`;
    launch("etcd", [
      ...["--data-dir", at("etcd"), "--listen-client-urls", etcd, "--advertise-client-urls", etcd],
      ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", `default=${peer}`],
    ]);
    await run("openssl", ["genrsa", "-out", at("account.key"), "2048"]);
    await writeFile(at("tokens.csv"), 'admin-token,admin,1,"system:masters"\n', { mode: 0o600 });
    const issuer = "https://kubernetes.default.svc";
    launch("kube-apiserver", [
      `--etcd-servers=${etcd}`,
      `--service-account-issuer=${issuer}`,
      `--service-account-key-file=${at("account.key")}`,
      `--service-account-signing-key-file=${at("account.key")}`,
      `--secure-port=${port}`,
      "--bind-address=127.0.0.1",
      `--cert-dir=${at("certificates")}`,
      `--token-auth-file=${at("tokens.csv")}`,
      "--authorization-mode=RBAC",
      "--service-cluster-ip-range=10.0.0.0/24",
    ]);
    const access = ["--server", `https://127.0.0.1:${port}`, "--token", "admin-token", "--insecure-skip-tls-verify"];
    const kubectl = async (args: readonly string[], input?: string): Promise<string> => {
      const files = input === undefined ? [] : ["-f", at("input.yaml")];
      if (input !== undefined) await writeFile(at("input.yaml"), input);
      return run(await kubectlPath(), [...access, `--cache-dir=${at("cache")}`, ...args, ...files]);
    };
    for (const startedMs = Date.now(); ; ) {
      const answer = await kubectl(["get", "--raw", "/readyz"]).catch(() => "");
      if (answer === "ok") break;
      if (Date.now() - startedMs > READY_MS) throw new Error(`the API server is not ready: ${output}`);
      await sleep(250);
    }
    const config = {
      apiVersion: "v1",
      kind: "Config",
      "current-context": "test",
      clusters: [{ name: "test", cluster: { server: `https://127.0.0.1:${port}`, "insecure-skip-tls-verify": true } }],
      users: [{ name: "admin", user: { token: "admin-token" } }],
      contexts: [{ name: "test", context: { cluster: "test", user: "admin" } }],
    };
    await writeFile(at("controllers.json"), JSON.stringify(config), { mode: 0o600 });
    launch("kube-controller-manager", [
      `--kubeconfig=${at("controllers.json")}`,
      "--controllers=deployment-controller,replicaset-controller,endpointslice-controller,serviceaccount-controller",
      "--leader-elect=false",
      "--bind-address=127.0.0.1",
      `--secure-port=${await freePort()}`,
      `--cert-dir=${at("controllers")}`,
    ]);
    return {
      port,
      kubectlCommand: [await kubectlPath(), ...access, `--cache-dir=${at("cache")}`].map((word) => `"${word}"`).join(" "),
      kubectl,
      stop,
      accountDir: async (namespace, account) => {
        const dir = at(`account-${account}`);
        await mkdir(dir);
        await writeFile(join(dir, "token"), await kubectl(["-n", namespace, "create", "token", account]), { mode: 0o600 });
        await writeFile(join(dir, "ca.crt"), await run("cat", [at("certificates/apiserver.crt")]));
        await writeFile(join(dir, "namespace"), namespace);
        return dir;
      },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Ours, or the machine's: any is newer than what it is asked to do here. */
async function kubectlPath(): Promise<string> {
  return run("bash", ["-c", "command -v kubectl"]).then(
    (path) => path.trim(),
    () => toolPath("kubectl"),
  );
}
