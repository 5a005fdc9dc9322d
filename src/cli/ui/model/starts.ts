import type { OperationView, StartView } from "../../../page/view.ts";

/** A pod and the operations on it and its containers, in any order. */
export interface PodOperations {
  /** "" for a pod that does not exist. */
  readonly podId: string;
  readonly namespace: string;
  readonly name: string;
  readonly operations: readonly OperationView[];
}

/** The operations that start something, and so are part of a start. */
const starting: readonly string[] = ["run-pod-sandbox", "create-container", "start-container"];
/** Those that a start waits for. They are not a start of their own. */
const awaited: readonly string[] = ["pull-image", "pull-layer"];

/** An operation that begins later than this after the one before belongs to another start. */
const maxGapMs = 60_000;
/** More operations of one start are left out: a client that retries forever is not worth more rows. */
const maxOperations = 40;

/**
 * The starts in the operations of these pods, newest first: those that began after `sinceMs`, at most `limit`.
 * A pod has one for its creation with its containers, and one for each time that containers were
 * started again.
 */
export function startsOf(
  pods: readonly PodOperations[],
  { sinceMs, limit }: { readonly sinceMs: number; readonly limit: number },
): readonly StartView[] {
  const starts = pods.flatMap((pod) => groups(pod.operations).map((group) => toStart(pod, group)));
  return starts
    .filter(({ startedMs }) => startedMs >= sinceMs)
    .toSorted((a, b) => b.startedMs - a.startedMs)
    .slice(0, limit);
}

/** Whether an operation is part of a start. */
export function isStart({ operation }: { readonly operation: string }): boolean {
  return starting.includes(operation);
}

function groups(operations: readonly OperationView[]): readonly (readonly OperationView[])[] {
  const all: OperationView[][] = [];
  let endMs = 0;
  const parts = operations.filter((each) => isStart(each) || awaited.includes(each.operation));
  for (const each of parts.toSorted((a, b) => a.startedMs - b.startedMs)) {
    const last = all.at(-1);
    if (last === undefined || each.startedMs - endMs > maxGapMs) {
      all.push([each]);
      endMs = 0;
    } else {
      last.push(each);
    }
    endMs = Math.max(endMs, each.startedMs + each.tookMs);
  }
  return all.filter((group) => group.some(isStart));
}

function toStart(
  { podId, namespace, name }: PodOperations,
  operations: readonly OperationView[],
): StartView {
  const startedMs = Math.min(...operations.map((each) => each.startedMs));
  const endMs = Math.max(...operations.map((each) => each.startedMs + each.tookMs));
  const isFailed = operations.some(({ error }) => error !== undefined);
  const isRunning = operations.some(({ running }) => running);
  return {
    key: `${podId === "" ? `${namespace}/${name}` : podId}@${startedMs}`,
    kind: "start",
    podId,
    namespace,
    name,
    image: "",
    startedMs,
    tookMs: endMs - startedMs,
    state: isFailed ? "failed" : isRunning ? "running" : "done",
    isWhole: operations.some(({ operation }) => operation === "run-pod-sandbox"),
    operations: bounded(operations),
  };
}

/** Layers do not count: a pull has few of them here. */
function bounded(operations: readonly OperationView[]): readonly OperationView[] {
  let count = 0;
  return operations.filter(
    ({ operation }) => operation === "pull-layer" || ++count <= maxOperations,
  );
}
