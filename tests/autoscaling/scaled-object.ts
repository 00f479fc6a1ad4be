/**
 * A ScaledObject of k8s/components/autoscaling: between which numbers of replicas, by which signals,
 * how fast.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";

interface Trigger {
  readonly name: string;
  /** PromQL of one number, in total over the pool. */
  readonly query: string;
  /** How much of it is one replica's. */
  readonly threshold: number;
}

export interface Policy {
  readonly type: "Pods" | "Percent";
  readonly value: number;
  readonly periodSeconds: number;
}

export interface ScalingRules {
  readonly stabilizationWindowSeconds: number;
  readonly policies: readonly Policy[];
}

export interface ScaledObject {
  readonly minReplicas: number;
  readonly maxReplicas: number;
  readonly scaleUp: ScalingRules;
  readonly scaleDown: ScalingRules;
  readonly triggers: readonly Trigger[];
}

/** The pool's, as the manifests have it. */
export async function readScaledObject(pool: "prefill" | "decode"): Promise<ScaledObject> {
  const path = fileURLToPath(new URL(`../../k8s/components/autoscaling/${pool}.yaml`, import.meta.url));
  const { spec } = parse(await readFile(path, "utf8"));
  if (spec.scaleTargetRef.name !== pool) throw new Error(`${path} scales ${spec.scaleTargetRef.name}`);
  const { scaleUp, scaleDown } = spec.advanced.horizontalPodAutoscalerConfig.behavior;
  const triggers = spec.triggers.map((trigger: { type: string; metricType: string; name: string; metadata: Trigger }) => {
    const { type, metricType, name, metadata } = trigger;
    if (type !== "prometheus" || metricType !== "AverageValue") throw new Error(`${path}: ${name} is ${type} ${metricType}`);
    return { name, query: metadata.query, threshold: Number(metadata.threshold) };
  });
  return { minReplicas: spec.minReplicaCount, maxReplicas: spec.maxReplicaCount, scaleUp, scaleDown, triggers };
}
