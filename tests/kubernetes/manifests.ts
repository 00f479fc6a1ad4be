/**
 * An overlay as `kubectl apply -k` would send it, and the parts of it that tests read.
 *
 * @module
 */
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { ROOT, run, toolPath } from "./tools.ts";

export const OVERLAYS = ["single", "prod-cpu", "prod-gpu"] as const;
export type Overlay = (typeof OVERLAYS)[number];

interface KeyRef {
  readonly name: string;
  readonly key: string;
}

export interface EnvVar {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: {
    readonly secretKeyRef?: KeyRef;
    readonly fieldRef?: { readonly fieldPath: string };
    readonly resourceFieldRef?: { readonly resource: string };
  };
}

export interface Probe {
  readonly grpc?: { readonly port: number; readonly service: string };
  readonly exec?: { readonly command: readonly string[] };
  readonly tcpSocket?: { readonly port: number | string };
  readonly periodSeconds?: number;
  readonly timeoutSeconds?: number;
  readonly failureThreshold?: number;
}

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly command: readonly string[];
  readonly env?: readonly EnvVar[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly resources: { readonly requests: Readonly<Record<string, string>> };
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
  readonly startupProbe: Probe;
  readonly readinessProbe: Probe;
  readonly livenessProbe: Probe;
}

export interface Volume {
  readonly name: string;
  readonly emptyDir?: object;
  readonly secret?: { readonly secretName: string; readonly items?: readonly { readonly key: string; readonly path: string }[] };
  readonly configMap?: { readonly name: string };
  readonly persistentVolumeClaim?: { readonly claimName: string };
}

export interface PodSpec {
  readonly serviceAccountName: string;
  readonly terminationGracePeriodSeconds: number;
  readonly initContainers?: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes?: readonly Volume[];
}

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly data?: Readonly<Record<string, string>>;
  // biome-ignore lint/suspicious/noExplicitAny: each kind has its own; tests look into a few
  readonly spec?: any;
}

function overlayFolder(overlay: Overlay): string {
  return join(ROOT, "k8s", "overlays", overlay);
}

export async function buildOverlay(
  overlay: Overlay,
): Promise<{ readonly text: string; readonly manifests: readonly Manifest[] }> {
  const text = await run(toolPath("kustomize"), ["build", overlayFolder(overlay)]);
  return { text, manifests: parseAllDocuments(text).map((document) => document.toJS() as Manifest) };
}

/** The one of this kind and name. */
export function find(manifests: readonly Manifest[], kind: string, name: string): Manifest {
  const found = manifests.find((each) => each.kind === kind && each.metadata.name === name);
  if (found === undefined) throw new Error(`the overlay has no ${kind} ${name}`);
  return found;
}
