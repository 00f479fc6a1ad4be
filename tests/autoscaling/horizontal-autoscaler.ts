/**
 * What Kubernetes' horizontal pod autoscaler (autoscaling/v2) decides for external metrics of type
 * AverageValue, which is what KEDA asks it for:
 *
 *   wanted = max over signals of ceil(total / threshold), or what there is when total is within a
 *            tenth of what that serves
 *
 * then no fewer than was wanted at any time in the window of stabilisation, no more than the policies
 * allow in their periods, between least and most.
 *
 * @module
 */
import type { Policy, ScaledObject, ScalingRules } from "./scaled-object.ts";

/** Deviation that changes nothing (--horizontal-pod-autoscaler-tolerance). */
const TOLERANCE = 0.1;

interface Event {
  readonly atSeconds: number;
  readonly replicas: number;
}

export class HorizontalAutoscaler {
  readonly #object: ScaledObject;
  #wanted: Event[] = [];
  /** Replicas added (negative: removed), and when. */
  #changes: Event[] = [];

  constructor(object: ScaledObject) {
    this.#object = object;
  }

  /** How many there are from now on, when there are `current` and the signals are `totals`, in the order of the triggers. */
  decide(atSeconds: number, current: number, totals: readonly number[]): number {
    const { triggers, minReplicas, maxReplicas, scaleUp, scaleDown } = this.#object;
    const raw = Math.max(...triggers.map(({ threshold }, i) => wantedBy(totals[i] ?? Number.NaN, threshold, current)));
    const stable = this.#stabilise(atSeconds, current, raw);
    const limited =
      stable > current
        ? Math.min(stable, this.#mostAfter(atSeconds, current, scaleUp))
        : Math.max(stable, this.#leastAfter(atSeconds, current, scaleDown));
    const decided = Math.min(maxReplicas, Math.max(minReplicas, limited));
    if (decided !== current) this.#changes.push({ atSeconds, replicas: decided - current });
    return decided;
  }

  #stabilise(atSeconds: number, current: number, raw: number): number {
    const { scaleUp, scaleDown } = this.#object;
    this.#wanted.push({ atSeconds, replicas: raw });
    const within = ({ stabilizationWindowSeconds }: ScalingRules): number[] =>
      this.#wanted.filter((each) => each.atSeconds >= atSeconds - stabilizationWindowSeconds).map(({ replicas }) => replicas);
    const least = Math.min(...within(scaleUp));
    const most = Math.max(...within(scaleDown));
    return Math.min(Math.max(current, least), most);
  }

  #mostAfter(atSeconds: number, current: number, { policies }: ScalingRules): number {
    const limits = policies.map((policy) => {
      const before = current - this.#changed(atSeconds, policy, 1);
      return policy.type === "Pods" ? before + policy.value : Math.ceil(before * (1 + policy.value / 100));
    });
    return Math.max(current, ...limits);
  }

  #leastAfter(atSeconds: number, current: number, { policies }: ScalingRules): number {
    const limits = policies.map((policy) => {
      const before = current - this.#changed(atSeconds, policy, -1);
      return policy.type === "Pods" ? before - policy.value : Math.floor(before * (1 - policy.value / 100));
    });
    return Math.min(current, ...limits);
  }

  /** Sum of the changes of one sign in the policy's last period. */
  #changed(atSeconds: number, { periodSeconds }: Policy, sign: 1 | -1): number {
    return this.#changes
      .filter((each) => each.atSeconds > atSeconds - periodSeconds && Math.sign(each.replicas) === sign)
      .reduce((sum, { replicas }) => sum + replicas, 0);
  }
}

function wantedBy(total: number, threshold: number, current: number): number {
  if (!Number.isFinite(total)) throw new RangeError(`Cannot scale by ${total}`);
  return Math.abs(total / (threshold * current) - 1) <= TOLERANCE ? current : Math.ceil(total / threshold);
}
