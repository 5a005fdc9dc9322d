import type { OperationView, StartView } from "../../../page/view.ts";
import type { InflightOperation, PastOperation } from "../../../client/operations.ts";
import type { FindSubject, Named } from "./activity.ts";
import { toOperationView } from "./operations.ts";
import { pullsForPods } from "./pulls.ts";
import { isStart, type PodOperations, startsOf } from "./starts.ts";

/** The timeline shows this time. */
export const timelineMs = 3_600_000;
/** The timeline has at most this number of starts, and remembers as many pods. */
const maxStarts = 300;

interface KnownPod {
  readonly named: Named;
  readonly operations: Map<string, OperationView>;
}

/**
 * The operations that started pods in the last hour, as the server has reported them. They are kept when the
 * pod is removed and when the server restarts.
 */
export class StartHistory {
  /** By the id of the pod, or by its name if it was never created; the least recently changed first. */
  readonly #pods = new Map<string, KnownPod>();

  /** Adds the history of a pod or container. */
  add(named: Named, past: readonly PastOperation[]): void {
    for (const each of past) {
      if (isStart(each)) this.#put(named, toOperationView(each, named.container));
    }
  }

  /** Adds failures, of which those of a pod that was not created have no history. */
  addFailures(failures: readonly PastOperation[], find: FindSubject): void {
    for (const each of failures) {
      if (!isStart(each)) continue;
      const named = find(each.subject);
      if (named === undefined) continue;
      // A pod that exists now was created by a later operation: the failure is a start of its own.
      const own = each.operation === "run-pod-sandbox" ? { ...named, podId: "" } : named;
      this.#put(own, toOperationView(each, named.container));
    }
  }

  /** Adds finished pulls, with their layers, to the pods that they were for. */
  addPulls(past: readonly PastOperation[], find: FindSubject): void {
    for (const { operations, ...pod } of pullsForPods(past, [], find)) {
      const known = this.#pods.get(pod.podId);
      // The oldest pods are forgotten, and a pull must not bring one back.
      if (known === undefined) continue;
      for (const view of operations) known.operations.set(keyOfOperation(view), view);
    }
  }

  /** The starts of the last hour with those in progress, newest first. */
  starts(
    running: readonly InflightOperation[],
    find: FindSubject,
    nowMs: number,
  ): readonly StartView[] {
    const sinceMs = nowMs - timelineMs;
    this.#forget(sinceMs);
    const pods = new Map<string, PodOperations>();
    for (const [key, { named, operations }] of this.#pods) {
      pods.set(key, podOperations(named, [...operations.values()]));
    }
    const add = (named: Named, views: readonly OperationView[]): void => {
      const known = pods.get(keyOf(named))?.operations ?? [];
      pods.set(keyOf(named), podOperations(named, [...known, ...views]));
    };
    for (const each of running) {
      const named = find(each.subject);
      if (named === undefined || !isStart(each)) continue;
      add(named, [toOperationView(each, named.container)]);
    }
    for (const { operations, ...pod } of pullsForPods([], running, find)) {
      add({ ...pod, container: "" }, operations);
    }
    return startsOf([...pods.values()], { sinceMs, limit: maxStarts });
  }

  #put(named: Named, view: OperationView): void {
    const key = keyOf(named);
    const known = this.#pods.get(key) ?? { named, operations: new Map<string, OperationView>() };
    known.operations.set(keyOfOperation(view), view);
    this.#pods.delete(key);
    this.#pods.set(key, known);
    const [oldest] = this.#pods.keys();
    if (this.#pods.size > maxStarts && oldest !== undefined) this.#pods.delete(oldest);
  }

  #forget(sinceMs: number): void {
    for (const [id, { operations }] of this.#pods) {
      for (const [key, { startedMs }] of operations) {
        if (startedMs < sinceMs) operations.delete(key);
      }
      if (operations.size === 0) this.#pods.delete(id);
    }
  }
}

function keyOfOperation({ operation, container, startedMs }: OperationView): string {
  return `${operation} ${container} ${startedMs}`;
}

function keyOf({ podId, namespace, pod }: Named): string {
  return podId === "" ? `${namespace}/${pod}` : podId;
}

function podOperations(
  { podId, namespace, pod }: Named,
  operations: readonly OperationView[],
): PodOperations {
  return { podId, namespace, name: pod, operations };
}
