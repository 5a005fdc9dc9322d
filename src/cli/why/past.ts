import type { JsonValue } from "@bufbuild/protobuf";

/** An operation that davit did to an object, as its verbose statuses tell of it. */
export interface Past {
  readonly operation: string;
  readonly subject: string;
  /** Milliseconds since 1970. */
  readonly startedMs: number;
  readonly tookMs: number;
  readonly stages: readonly Mark[];
  readonly error: string | undefined;
}

/** An operation that davit is doing; `tookMs` is its time until now. */
export interface Present extends Past {
  /** Which of several its stage is at: the network plugin that runs. */
  readonly detail: string | undefined;
}

interface Mark {
  readonly stage: string;
  readonly atMs: number;
  readonly detail: string | undefined;
}

/** One bar of the waterfall. Milliseconds from the operation's begin. */
export interface Phase {
  readonly name: string;
  readonly fromMs: number;
  readonly toMs: number;
}

/** Reads a history; undefined where the server keeps none, as other runtimes do. */
export function readHistory(value: JsonValue | undefined): readonly Past[] | undefined {
  if (!Array.isArray(value)) return undefined;
  return value.flatMap((each) => {
    const fields = objectOf(each);
    const { operation, subject, startedMs, tookMs, stages, error } = fields;
    if (typeof operation !== "string" || typeof startedMs !== "number") return [];
    return [
      {
        operation,
        subject: typeof subject === "string" ? subject : "",
        startedMs,
        tookMs: typeof tookMs === "number" ? tookMs : 0,
        stages: Array.isArray(stages) ? stages.flatMap(readMark) : [],
        error: typeof error === "string" ? error : undefined,
      },
    ];
  });
}

/** Reads the operations under way from a verbose Status; none where the server does not tell. */
export function readInflight(value: JsonValue | undefined, nowMs: number): readonly Present[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((each) => {
    const { operation, subject, ageMs, stages, detail } = objectOf(each);
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
      },
    ];
  });
}

function readMark(value: JsonValue): readonly Mark[] {
  const { stage, atMs, detail } = objectOf(value);
  if (typeof stage !== "string" || typeof atMs !== "number") return [];
  return [{ stage, atMs, detail: typeof detail === "string" ? detail : undefined }];
}

function objectOf(value: JsonValue): Readonly<Record<string, JsonValue>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value : {};
}

/** What says that something is over rather than that it begins. */
const endings: readonly string[] = [
  "network-plugin-done",
  "network-added",
  "network-removed",
  "answer",
];

/**
 * The phases of an operation, from the moments at which its stages began. What a CNI plugin took
 * ends with its own mark, so the phase before that is named after the plugin.
 */
export function phasesOf(operation: Past | Present): readonly Phase[] {
  const { stages, tookMs } = operation;
  const current = "detail" in operation ? operation.detail : undefined;
  return stages.flatMap(({ stage, atMs }, at) => {
    const next = stages[at + 1];
    const toMs = next?.atMs ?? Math.max(tookMs, atMs);
    const plugin = next === undefined ? current : next.detail;
    if (plugin !== undefined) return [{ name: `network plugin ${plugin}`, fromMs: atMs, toMs }];
    // What comes after these is too little to be worth a line, unless something was slow there.
    if (endings.includes(stage) && toMs - atMs < 5) return [];
    return [{ name: stage.replaceAll("-", " "), fromMs: atMs, toMs }];
  });
}
