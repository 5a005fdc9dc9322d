import type { JsonValue } from "@bufbuild/protobuf";

/** A past operation, as davit's verbose statuses report it. */
export interface PastOperation {
  readonly operation: string;
  readonly subject: string;
  /** Milliseconds since 1970. */
  readonly startedMs: number;
  readonly tookMs: number;
  readonly stages: readonly StageMark[];
  readonly error: string | undefined;
  /** What the pull of a layer has received, and in which time from its begin. */
  readonly transfer?: Transfer;
  /** The pods that the pull of an image is for. */
  readonly pods?: readonly PodName[];
}

interface PodName {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

interface Transfer {
  readonly image: string;
  readonly bytes: number;
  readonly tookMs: number;
}

/** An operation in progress; `tookMs` is the time since its start. */
export interface InflightOperation extends PastOperation {
  /** The network plugin that is running. */
  readonly detail: string | undefined;
}

interface StageMark {
  readonly stage: string;
  readonly atMs: number;
  readonly detail: string | undefined;
}

/** A bar of the waterfall, in milliseconds from the start of the operation. */
export interface Phase {
  readonly name: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/** Parses a history; undefined if the server does not report one. */
export function readHistory(value: JsonValue | undefined): readonly PastOperation[] | undefined {
  if (!Array.isArray(value)) return undefined;
  return value.flatMap((each) => {
    const fields = objectOf(each);
    const { operation, subject, startedMs, tookMs, stages, error, transfer, pods } = fields;
    if (typeof operation !== "string" || typeof startedMs !== "number") return [];
    return [
      {
        operation,
        subject: typeof subject === "string" ? subject : "",
        startedMs,
        tookMs: typeof tookMs === "number" ? tookMs : 0,
        stages: Array.isArray(stages) ? stages.flatMap(readMark) : [],
        error: typeof error === "string" ? error : undefined,
        ...readTransfer(transfer),
        ...readPods(pods),
      },
    ];
  });
}

function readPods(value: JsonValue | undefined): Pick<PastOperation, "pods"> {
  if (!Array.isArray(value)) return {};
  const pods = value.flatMap((each) => {
    const { namespace, name, uid } = objectOf(each);
    if (typeof namespace !== "string" || typeof name !== "string") return [];
    return typeof uid === "string" ? [{ namespace, name, uid }] : [];
  });
  return pods.length === 0 ? {} : { pods };
}

function readTransfer(value: JsonValue | undefined): Pick<PastOperation, "transfer"> {
  const { image, bytes, tookMs } = objectOf(value ?? null);
  if (typeof image !== "string" || typeof bytes !== "number") return {};
  return typeof tookMs === "number" ? { transfer: { image, bytes, tookMs } } : {};
}

/** Parses the operations in progress in a verbose Status; empty if the server does not report them. */
export function readInflight(
  value: JsonValue | undefined,
  nowMs: number,
): readonly InflightOperation[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((each) => {
    const { operation, subject, ageMs, stages, detail, pods } = objectOf(each);
    if (typeof operation !== "string" || typeof ageMs !== "number") return [];
    return [
      {
        operation,
        subject: typeof subject === "string" ? subject : "",
        startedMs: nowMs - ageMs,
        tookMs: ageMs,
        stages: Array.isArray(stages) ? stages.flatMap(readMark) : [],
        detail: typeof detail === "string" ? detail : undefined,
        error: undefined,
        ...readPods(pods),
      },
    ];
  });
}

function readMark(value: JsonValue): readonly StageMark[] {
  const { stage, atMs, detail } = objectOf(value);
  if (typeof stage !== "string" || typeof atMs !== "number") return [];
  return [{ stage, atMs, detail: typeof detail === "string" ? detail : undefined }];
}

function objectOf(value: JsonValue): Readonly<Record<string, JsonValue>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
}

/** Stages that mark the end of something. */
const endings: readonly string[] = [
  "network-plugin-done",
  "network-added",
  "network-removed",
  "answer",
];

/**
 * The phases of an operation, computed from the start times of its stages. The run of a CNI plugin ends with
 * a mark of its own, so the phase before that mark is named after the plugin.
 */
export function phasesOf(operation: PastOperation | InflightOperation): readonly Phase[] {
  const { stages, tookMs } = operation;
  const current = "detail" in operation ? operation.detail : undefined;
  return stages.flatMap(({ stage, atMs }, at) => {
    const next = stages[at + 1];
    const toMs = next?.atMs ?? Math.max(tookMs, atMs);
    const plugin = next === undefined ? current : next.detail;
    if (plugin !== undefined) return [{ name: `network plugin ${plugin}`, fromMs: atMs, toMs }];
    // The phase after such a stage is only shown if it was slow.
    if (endings.includes(stage) && toMs - atMs < 5) return [];
    return [{ name: stage.replaceAll("-", " "), fromMs: atMs, toMs }];
  });
}
