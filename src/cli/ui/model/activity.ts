import type { JsonValue } from "@bufbuild/protobuf";
import type { ActivityItem, ActivityView, PullView } from "../../../page/view.ts";
import type { InflightOperation, PastOperation } from "../../../client/operations.ts";
import { namedPhases, parseSubject, reasonIn } from "./operations.ts";

/** The end of a shell whose page was closed is recorded as a failure, but nothing is wrong. */
const clientLeft = ": the client disconnected";

/** A call that lasts longer than this waits for something. */
const waitingMs = 1_000;

/** An object that an operation can be about. */
export interface Named {
  readonly podId: string;
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
}

/** Finds the object of a subject, by its id or its name. */
export type FindSubject = (subject: string) => Named | undefined;

/** What the activity is built from: parts of the verbose Status of davit. */
export interface ActivitySources {
  readonly running: readonly InflightOperation[];
  readonly failures: readonly PastOperation[];
  readonly pulls: JsonValue | undefined;
  readonly calls: JsonValue | undefined;
  readonly supported: boolean;
}

/** What the server is doing, and what has failed, with the objects by name. */
export function buildActivity(sources: ActivitySources, find: FindSubject): ActivityView {
  return {
    supported: sources.supported,
    running: sources.running.map((each) => toItem(each, find)),
    failures: sources.failures
      .filter(({ error = "" }) => !error.endsWith(clientLeft))
      .map((each) => toItem(each, find))
      .toReversed(),
    pulls: readPulls(sources.pulls),
    calls: readCalls(sources.calls),
  };
}

function toItem(operation: PastOperation | InflightOperation, find: FindSubject): ActivityItem {
  const { subject, startedMs, tookMs, error } = operation;
  const named = find(subject);
  const last = namedPhases(operation).at(-1);
  return {
    key: `${operation.operation} ${subject} ${startedMs}`,
    operation: operation.operation,
    subject: nameOf(subject, named),
    podId: named?.podId ?? "",
    stage: last?.name ?? "",
    stageMs: last === undefined ? 0 : last.toMs - last.fromMs,
    startedMs,
    tookMs,
    error: error === undefined ? undefined : reasonIn(error),
  };
}

function nameOf(subject: string, named: Named | undefined): string {
  const { namespace, pod, container } = named ?? parseSubject(subject) ?? {};
  if (pod === undefined) return subject;
  return [namespace, pod, container].filter((part) => part !== "").join("/");
}

/** Parses the pulls of a verbose Status; none if the server does not report them. */
function readPulls(value: JsonValue | undefined): readonly PullView[] {
  return listOf(value).flatMap((pull) => {
    const { image, layers } = pull;
    if (typeof image !== "string") return [];
    const parts = listOf(layers).map(({ sizeBytes, fetchedBytes, state }) => ({
      size: numberOf(sizeBytes),
      fetched: numberOf(fetchedBytes),
      state: typeof state === "string" ? state : "",
    }));
    return [
      {
        image,
        size: parts.reduce((sum, { size }) => sum + size, 0),
        fetched: parts.reduce((sum, { fetched }) => sum + fetched, 0),
        layers: parts.map(({ size, fetched, state }) => ({
          state,
          share: size === 0 ? 1 : Math.min(1, fetched / size),
        })),
      },
    ];
  });
}

/** Parses the calls of a verbose Status, without those that have just begun: the ui's own are among them. */
function readCalls(value: JsonValue | undefined): ActivityView["calls"] {
  return listOf(value).flatMap(({ method, ageMs }) =>
    typeof method === "string" && numberOf(ageMs) >= waitingMs
      ? [{ method, ageMs: numberOf(ageMs) }]
      : [],
  );
}

function listOf(value: JsonValue | undefined): readonly Readonly<Record<string, JsonValue>>[] {
  if (!Array.isArray(value)) return [];
  return value.filter(
    (each): each is Record<string, JsonValue> =>
      typeof each === "object" && each !== null && !Array.isArray(each),
  );
}

function numberOf(value: JsonValue | undefined): number {
  return typeof value === "number" ? value : 0;
}
