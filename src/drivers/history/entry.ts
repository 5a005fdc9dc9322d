import type {
  HistoryEntry,
  PastOperation,
  PodName,
  StageMark,
} from "../../core/operation/index.ts";

/** A line of the file. Stages are lists, which take a third of the space of objects. */
export function formatEntry({ object, past }: HistoryEntry): string {
  const { stages, ...rest } = past;
  const marks = stages.map(({ stage, atMs, detail }) =>
    detail === undefined ? [stage, atMs] : [stage, atMs, detail],
  );
  return `${JSON.stringify({ object, ...rest, stages: marks })}\n`;
}

/** The entry of a line; undefined if the line is not one. */
export function parseEntry(line: string): HistoryEntry | undefined {
  const fields = fieldsOf(line);
  const { object, operation, subject, startedMs, tookMs, stages, error, transfer, pods } = fields;
  if (typeof object !== "string" || typeof operation !== "string") return undefined;
  if (typeof subject !== "string" || !Array.isArray(stages)) return undefined;
  if (typeof startedMs !== "number" || typeof tookMs !== "number") return undefined;
  const marks = stages.flatMap(parseMark);
  const failure = typeof error === "string" ? { error } : {};
  const past = { operation, subject, startedMs, tookMs, stages: marks };
  return { object, past: { ...past, ...failure, ...parseTransfer(transfer), ...parsePods(pods) } };
}

function parsePods(value: unknown): Pick<PastOperation, "pods"> {
  if (!Array.isArray(value)) return {};
  const pods = value.flatMap((each: unknown) => {
    const { namespace, name, uid } = (each ?? {}) as Readonly<Record<string, unknown>>;
    const isPod = [namespace, name, uid].every((text) => typeof text === "string");
    return isPod ? [{ namespace, name, uid } as PodName] : [];
  });
  return pods.length === 0 ? {} : { pods };
}

function parseTransfer(value: unknown): Pick<PastOperation, "transfer"> {
  if (typeof value !== "object" || value === null) return {};
  const { image, bytes, tookMs } = value as Readonly<Record<string, unknown>>;
  if (typeof image !== "string" || typeof bytes !== "number") return {};
  return typeof tookMs === "number" ? { transfer: { image, bytes, tookMs } } : {};
}

function fieldsOf(line: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

function parseMark(mark: unknown): readonly StageMark[] {
  if (!Array.isArray(mark)) return [];
  const [stage, atMs, detail] = mark as readonly unknown[];
  if (typeof stage !== "string" || typeof atMs !== "number") return [];
  return [typeof detail === "string" ? { stage, atMs, detail } : { stage, atMs }];
}
