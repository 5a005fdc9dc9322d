import type { Container } from "../../../gen/runtime/v1/api_pb.ts";
import type { OperationView, PhaseView, StartView } from "../../../page/view.ts";
import { imageNames } from "../../objects/find.ts";
import { formatBytes } from "../../output/figures.ts";
import type { InflightOperation, PastOperation } from "../../../client/operations.ts";
import type { FindSubject } from "./activity.ts";
import { toOperationView } from "./operations.ts";
import { toMs } from "./pods.ts";

/** A container that is created later than this after a pull has probably not waited for it. */
const maxWaitMs = 10_000;
/** More layers of one pull are left out. */
const maxLayers = 40;
/** Among the operations of a pod a pull has only its longest layers. */
const maxLayersOfPod = 8;

/** What the waterfall of a pod has of a pull: the pull, and the layers that it has fetched itself. */
export interface PullOfPod {
  readonly podId: string;
  readonly namespace: string;
  readonly pod: string;
  readonly operations: readonly OperationView[];
}

/**
 * The pulls that were made for pods that exist, once for each pod. `past` has finished pulls and their layers, `running`
 * what is in progress, of which the layers are not shown.
 */
export function pullsForPods(
  past: readonly PastOperation[],
  running: readonly InflightOperation[],
  find: FindSubject,
): readonly PullOfPod[] {
  const layers = past.filter(({ operation }) => operation === "pull-layer");
  return [...past, ...running].flatMap((pull) => {
    const own = "detail" in pull ? [] : longest(layersOf(pull, layers));
    const operations = [toOperationView(pull, pull.subject), ...own.map(toLayer)];
    return podsOf(pull, find).flatMap((pod) => (pod.podId === "" ? [] : [{ ...pod, operations }]));
  });
}

/**
 * The pulls of images that began after `sinceMs`, each with the layers that it has fetched itself, newest first, without
 * those that are in the waterfall of a pod. A pull has the name of the pod that it was for. If the client did not name
 * one, that is the pod whose container was created next with its image, if that was soon.
 */
export function pullsOf(
  past: readonly PastOperation[],
  containers: readonly Container[],
  find: FindSubject,
  { sinceMs, starts }: { readonly sinceMs: number; readonly starts: readonly StartView[] },
): readonly StartView[] {
  const layers = past.filter(({ operation }) => operation === "pull-layer");
  const shown = new Set(
    starts.flatMap(({ operations }) =>
      operations.filter(({ operation }) => operation === "pull-image").map(keyOfView),
    ),
  );
  return past
    .filter(({ operation, startedMs }) => operation === "pull-image" && startedMs >= sinceMs)
    .map((pull) => {
      const [pod] = podsOf(pull, find);
      const named = pod && { podId: pod.podId, namespace: pod.namespace, name: pod.pod };
      return toPull(pull, layersOf(pull, layers), named ?? waiterOf(pull, containers, find));
    })
    .filter(({ image, startedMs }) => !shown.has(`${image}@${startedMs}`))
    .toSorted((a, b) => b.startedMs - a.startedMs);
}

function keyOfView({ container, startedMs }: OperationView): string {
  return `${container}@${startedMs}`;
}

function podsOf(
  { operation, pods = [] }: PastOperation,
  find: FindSubject,
): readonly Omit<PullOfPod, "operations">[] {
  if (operation !== "pull-image") return [];
  return pods.map(({ namespace, name, uid }) => ({
    podId: find(`${name}_${namespace}_${uid}_0`)?.podId ?? "",
    namespace,
    pod: name,
  }));
}

function longest(layers: readonly PastOperation[]): readonly PastOperation[] {
  return layers.toSorted((a, b) => b.tookMs - a.tookMs).slice(0, maxLayersOfPod);
}

function layersOf(
  { subject, startedMs, tookMs }: PastOperation,
  layers: readonly PastOperation[],
): readonly PastOperation[] {
  return layers.filter(
    (layer) =>
      layer.transfer?.image === subject &&
      layer.startedMs >= startedMs &&
      layer.startedMs <= startedMs + tookMs,
  );
}

function waiterOf(
  { subject, startedMs, tookMs }: PastOperation,
  containers: readonly Container[],
  find: FindSubject,
): Pick<StartView, "podId" | "namespace" | "name"> {
  const endMs = startedMs + tookMs;
  const [first] = containers
    .filter(({ image, createdAt }) => {
      const waitedMs = toMs(createdAt) - endMs;
      const name = image?.userSpecifiedImage || image?.image || "";
      return waitedMs >= 0 && waitedMs <= maxWaitMs && imageNames(name).includes(subject);
    })
    .toSorted((a, b) => Number(a.createdAt - b.createdAt));
  const named = first === undefined ? undefined : find(first.id);
  return {
    podId: named?.podId ?? "",
    namespace: named?.namespace ?? "",
    name: named?.pod ?? "",
  };
}

function toPull(
  pull: PastOperation,
  layers: readonly PastOperation[],
  waiter: Pick<StartView, "podId" | "namespace" | "name">,
): StartView {
  const { subject, startedMs, tookMs, error } = pull;
  return {
    ...waiter,
    key: `pull ${subject}@${startedMs}`,
    kind: "pull",
    image: subject,
    startedMs,
    tookMs,
    state: error === undefined ? "done" : "failed",
    isWhole: true,
    operations: [
      toOperationView(pull, ""),
      ...layers
        .toSorted((a, b) => a.startedMs - b.startedMs)
        .slice(0, maxLayers)
        .map(toLayer),
    ],
  };
}

/** A layer is unpacked while it is received: what comes after the last byte is the rest of that. */
function toLayer(layer: PastOperation): OperationView {
  const { subject, tookMs, transfer } = layer;
  const digest = subject.replace(/^sha256:/, "").slice(0, 12);
  const { bytes = 0, tookMs: receivedMs = 0 } = transfer ?? {};
  const view = toOperationView(layer, bytes === 0 ? digest : `${digest} ${formatBytes(bytes)}`);
  if (bytes === 0) return view;
  const phase = (name: string, fromMs: number, toMs: number): PhaseView => ({
    name,
    kind: name === "download" ? "pull" : "files",
    fromMs,
    toMs: Math.max(fromMs, toMs),
  });
  const begin = Math.min(receivedMs, tookMs);
  return { ...view, phases: [phase("download", 0, begin), phase("unpack", begin, tookMs)] };
}
