import { mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KubernetesApi, ReadyEndpoints } from "@kvault/gateway/testing";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { fences } from "../../tools/markdown.ts";
import { type ApiServer, startApiServer } from "./api-server.ts";
import { buildOverlay, OVERLAYS } from "./manifests.ts";
import { KUBERNETES_HOME, ROOT, run } from "./tools.ts";

const NAMESPACE = "kvault";
const APPLY = ["apply", "--server-side", "--validate=strict", "--force-conflicts"];

let server: ApiServer;

beforeAll(async () => {
  server = await startApiServer();
  const folder = join(KUBERNETES_HOME, "crds");
  for (const name of await readdir(folder)) {
    await server.kubectl(["apply", "--server-side"], await readFile(join(folder, name), "utf8"));
  }
  await server.kubectl(["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"]);
});
afterAll(() => server.stop());

describe("a real API server", () => {
  test.each(OVERLAYS)("takes every object of %s, with strict fields and admission of its own", async (overlay) => {
    const { text, manifests } = await buildOverlay(overlay);
    const [namespace] = manifests.filter(({ kind }) => kind === "Namespace");
    expect(namespace?.metadata.name).toBe(NAMESPACE);
    await server.kubectl([...APPLY], text);
    const taken = await server.kubectl([...APPLY, "--dry-run=server", "-o", "name"], text);
    expect(taken.trim().split("\n")).toHaveLength(manifests.length);
  });

  test("refuses a field that does not exist", async () => {
    const { text } = await buildOverlay("single");
    await expect(server.kubectl(APPLY, text.replace("revisionHistoryLimit:", "revisionHistroyLimit:"))).rejects.toThrow(
      "field not declared in schema",
    );
  });

  test("every pod that a Deployment or StatefulSet would make meets the restricted standard", async () => {
    const { manifests } = await buildOverlay("prod-gpu");
    const owners = manifests.filter(({ kind }) => ["Deployment", "StatefulSet"].includes(kind));
    expect(owners).toHaveLength(5);
    for (const { metadata, spec } of owners) {
      const { labels } = spec.template.metadata;
      const volumes = [
        ...(spec.template.spec.volumes ?? []),
        ...((spec.volumeClaimTemplates ?? []) as { metadata: { name: string } }[]).map(({ metadata: { name } }) => ({
          name,
          emptyDir: {},
        })),
      ];
      const pod = {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: metadata.name, namespace: NAMESPACE, labels },
        spec: { ...spec.template.spec, volumes },
      };
      await server.kubectl(["create", "--dry-run=server", "-o", "name"], JSON.stringify(pod));
      const { securityContext: _, ...open } = pod.spec;
      await expect(server.kubectl(["create", "--dry-run=server"], JSON.stringify({ ...pod, spec: open }))).rejects.toThrow(
        "violates PodSecurity",
      );
    }
  });

  test("the gateway's account reads EndpointSlices of its namespace, and may do nothing else", async () => {
    const can = async (account: string, verb: string, resource: string, namespace = NAMESPACE): Promise<boolean> => {
      const user = `system:serviceaccount:${NAMESPACE}:${account}`;
      const answer = await server
        .kubectl(["auth", "can-i", verb, resource, "-n", namespace, "--as", user, "--as-group", "system:authenticated"])
        .catch(() => "no");
      return answer.trim() === "yes";
    };
    const slices = "endpointslices.discovery.k8s.io";
    for (const verb of ["get", "list", "watch"]) expect([verb, await can("gateway", verb, slices)]).toEqual([verb, true]);
    for (const [verb, resource] of [
      ["create", slices],
      ["delete", slices],
      ["get", "secrets"],
      ["list", "pods"],
      ["create", "pods"],
      ["get", "configmaps"],
      ["patch", "deployments.apps"],
      ["escalate", "roles.rbac.authorization.k8s.io"],
      ["create", "serviceaccounts/token"],
    ] as const) {
      expect([verb, resource, await can("gateway", verb, resource)]).toEqual([verb, resource, false]);
    }
    expect(await can("gateway", "list", slices, "default")).toBe(false);
    for (const account of ["prefill", "decode", "redis", "default"]) {
      expect([account, await can(account, "list", slices), await can(account, "get", "secrets")]).toEqual([
        account,
        false,
        false,
      ]);
    }
  });
});

describe("docs/kubernetes.md, as printed", () => {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "kvault-docs-"));
    await symlink(join(ROOT, "k8s"), join(folder, "k8s"));
    const program = (name: string, command: string): Promise<void> =>
      writeFile(join(folder, name), `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 });
    await program("kvault", `"${process.execPath}" "${join(ROOT, "cli", "bin", "kvault.js")}"`);
    await program("kubectl", server.kubectlCommand);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test("every block that deploys", async () => {
    const blocks = fences(await readFile(join(ROOT, "docs", "kubernetes.md"), "utf8")).filter(
      ({ info, code }) => info === "sh" && code.includes("kubectl"),
    );
    expect(blocks).toHaveLength(3);
    for (const { code } of blocks) await run("bash", ["-euc", `PATH="${folder}:$PATH"\n${code}`], { cwd: folder });
    const secrets = await server.kubectl(["-n", NAMESPACE, "get", "secrets", "-o", "name"]);
    expect(secrets.trim().split("\n").sort()).toEqual(["secret/kvault-access", "secret/kvault-redis", "secret/kvault-store"]);
  });
});

describe("discovery over a real API server, with the gateway's own account", () => {
  let endpoints: ReadyEndpoints;
  const errors: unknown[] = [];
  const soon = { timeout: 20_000, interval: 100 };
  const known = (): readonly string[] => [...(endpoints.addresses ?? ["unknown"])].sort();
  const decodePods = async (): Promise<readonly string[]> =>
    (await server.kubectl(["-n", NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/name=decode", "-o", "name"]))
      .trim()
      .split("\n")
      .sort();
  /** What a kubelet says of a pod after its readiness probe. */
  const report = (pod: string, podIP: string, isReady: boolean): Promise<string> => {
    const status = {
      phase: "Running",
      podIP,
      podIPs: [{ ip: podIP }],
      conditions: [{ type: "Ready", status: isReady ? "True" : "False" }],
    };
    return server.kubectl([
      "-n",
      NAMESPACE,
      "patch",
      pod,
      "--subresource=status",
      "--type=merge",
      "-p",
      JSON.stringify({ status }),
    ]);
  };
  const scale = (replicas: number): Promise<string> =>
    server.kubectl(["-n", NAMESPACE, "scale", "deployment/decode", `--replicas=${replicas}`]);

  beforeAll(async () => {
    // No roll-out from what was applied before, which would wait for pods that never get ready.
    await server.kubectl(["-n", NAMESPACE, "delete", "deployments,replicasets,pods", "--all"]);
    await server.kubectl(APPLY, (await buildOverlay("single")).text);
    await scale(3);
    await vi.waitFor(async () => expect(await decodePods()).toHaveLength(3), soon);
    // Endpoints are pods of a node that there is.
    await server.kubectl(
      ["apply", "--server-side"],
      JSON.stringify({ apiVersion: "v1", kind: "Node", metadata: { name: "node-1" } }),
    );
    for (const pod of await decodePods()) {
      const metadata = { name: pod.replace("pod/", ""), namespace: NAMESPACE };
      const binding = { apiVersion: "v1", kind: "Binding", metadata, target: { apiVersion: "v1", kind: "Node", name: "node-1" } };
      await server.kubectl(
        ["create", "--raw", `/api/v1/namespaces/${NAMESPACE}/pods/${metadata.name}/binding`],
        JSON.stringify(binding),
      );
    }
    const accountDir = await server.accountDir(NAMESPACE, "gateway");
    endpoints = new ReadyEndpoints({
      access: { apiUrl: `https://127.0.0.1:${server.port}`, accountDir },
      service: "decode",
      onChange: () => undefined,
      onError: (error) => errors.push(error),
    });
  });
  afterAll(() => endpoints.close());

  test("pods that the decode Deployment made count from when they are ready, and no longer than that", async () => {
    const [first = "", second = "", third = ""] = await decodePods();
    await report(first, "10.244.0.1", true);
    await report(second, "10.244.0.2", true);
    await report(third, "10.244.0.3", false);
    await vi.waitFor(() => expect(known()).toEqual(["10.244.0.1:7719", "10.244.0.2:7719"]), soon);
    await report(first, "10.244.0.1", false);
    await report(third, "10.244.0.3", true);
    await vi.waitFor(() => expect(known()).toEqual(["10.244.0.2:7719", "10.244.0.3:7719"]), soon);
  });

  test("scaling down takes them away while they still drain", async () => {
    await scale(0);
    await vi.waitFor(() => expect(known()).toEqual([]), soon);
    expect(await decodePods()).toHaveLength(3);
    expect(errors).toEqual([]);
  });

  test("an account without rights is refused, and says so", async () => {
    const accountDir = await server.accountDir(NAMESPACE, "decode");
    const api = new KubernetesApi({ apiUrl: `https://127.0.0.1:${server.port}`, accountDir });
    const path = `/apis/discovery.k8s.io/v1/namespaces/${NAMESPACE}/endpointslices`;
    await expect(api.get(path, new AbortController().signal)).rejects.toMatchObject({ code: 403 });
  });
});
