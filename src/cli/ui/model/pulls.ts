import type { Container } from "../../../gen/runtime/v1/api_pb.ts";
import type { OperationView, PhaseView, StartView } from "../../../page/view.ts";
import { imageNames } from "../../objects/find.ts";
import { formatBytes } from "../../output/figures.ts";
import type { PastOperation } from "../../why/operations.ts";
import type { FindSubject } from "./activity.ts";
import { toOperationView } from "./operations.ts";
import { toMs } from "./pods.ts";

/** A container that is created later than this after a pull has probably not waited for it. */
const maxWaitMs = 10_000;
/** More layers of one pull are left out. */
const maxLayers = 40;

/**
 * The pulls of images that began after `sinceMs`, each with the layers that it has fetched itself, newest first. A pull
 * has the name of the pod whose container was created next with its image, if that was soon.
 */
export function pullsOf(
  past: readonly PastOperation[],
  containers: readonly Container[],
  find: FindSubject,
  sinceMs: number,
): readonly StartView[] {
  const layers = past.filter(({ operation }) => operation === "pull-layer");
  return past
    .filter(({ operation, startedMs }) => operation === "pull-image" && startedMs >= sinceMs)
    .map((pull) => toPull(pull, layersOf(pull, layers), waiterOf(pull, containers, find)))
    .toSorted((a, b) => b.startedMs - a.startedMs);
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
