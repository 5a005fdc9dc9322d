import type { JsonValue } from "@bufbuild/protobuf";
import type { StatusResponse } from "../../gen/runtime/v1/api_pb.ts";
import { type LayerProgress, readPulls } from "../lifecycle/pull-progress.ts";
import { readInfo } from "../output/cri-message.ts";
import {
  type InflightOperation,
  type PastOperation,
  readHistory,
  readInflight,
} from "../../client/operations.ts";

/** What the verbose Status of a davit server adds. */
export interface Activity {
  /** The operations in progress, longest first. */
  readonly inflight: readonly InflightOperation[];
  /** The last failures, newest first. */
  readonly failures: readonly PastOperation[];
  readonly pulls: ReadonlyMap<string, readonly LayerProgress[]>;
}

/** The state of the node as the server reports it. */
export interface NodeStatus {
  readonly ready: boolean;
  readonly networkReady: boolean;
  /** Why the node or its network is not ready; "" if both are. */
  readonly reason: string;
  /** Undefined for a server that is not davit. */
  readonly activity: Activity | undefined;
}

/** Reads a Status, verbose or not. */
export function readNodeStatus({ status, info }: StatusResponse, nowMs: number): NodeStatus {
  const conditions = status?.conditions ?? [];
  const isTrue = (type: string): boolean =>
    conditions.find((condition) => condition.type === type)?.status === true;
  const wrong = conditions.filter((condition) => !condition.status);
  return {
    ready: isTrue("RuntimeReady"),
    networkReady: isTrue("NetworkReady"),
    reason: wrong.map(({ reason, message }) => message || reason).join("; "),
    activity: readActivity(info, nowMs),
  };
}

function readActivity(info: Readonly<Record<string, string>>, nowMs: number): Activity | undefined {
  const { inflight, lastFailures, pulls } = info;
  // Other servers have other keys, some of them with large values: only these are parsed.
  if (inflight === undefined || lastFailures === undefined) return undefined;
  const own = readInfo({ inflight, lastFailures });
  if (!Array.isArray(own["inflight"])) return undefined;
  return {
    inflight: readInflight(own["inflight"], nowMs).toSorted((a, b) => b.tookMs - a.tookMs),
    failures: newestFirst(own["lastFailures"]),
    pulls: readPulls(pulls ?? "[]"),
  };
}

function newestFirst(value: JsonValue | undefined): readonly PastOperation[] {
  return (readHistory(value) ?? []).toReversed();
}
