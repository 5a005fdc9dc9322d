import type { OperationView } from "./view.ts";

/** A number of bytes: 512 B, 4.3 MB. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  for (const unit of ["B", "kB", "MB", "GB", "TB"]) {
    if (value < 999.5 || unit === "TB") {
      return `${unit === "B" || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${unit}`;
    }
    value /= 1000;
  }
  return "";
}

/** A duration: <1 ms, 12 ms, 3.2 s, 5 min, 2 h, 3 d. */
export function formatDuration(ms: number): string {
  if (ms < 1) return "<1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

/** The time since then, without fractions: 12 s, 5 min. */
export function formatAge(sinceMs: number, nowMs: number): string {
  const ms = Math.max(0, nowMs - sinceMs);
  return ms < 60_000 ? `${Math.floor(ms / 1000)} s` : formatDuration(ms);
}

/** The share of processors: 3.2%, 140%; 100% is one processor. */
export function formatCpu(cpu: number | undefined): string {
  if (cpu === undefined) return "–";
  const percent = cpu * 100;
  return percent < 9.95 ? `${percent.toFixed(1)}%` : `${Math.round(percent)}%`;
}

/** A time of the day with seconds. */
export function formatClock(ms: number): string {
  return new Date(ms).toLocaleTimeString("en-GB");
}

/** A time of the day without seconds. */
export function formatMinute(ms: number): string {
  return formatClock(ms).slice(0, 5);
}

/** The first characters of an id or digest. */
export function shortId(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 12);
}

/** The name of an operation in the CRI: run-pod-sandbox is RunPodSandbox. */
export function formatOperation({ operation }: Pick<OperationView, "operation">): string {
  return operation.replace(/(^|-)([a-z])/g, (_, __, letter: string) => letter.toUpperCase());
}

/** Replaces terminal sequences and other control characters in a line of a log. */
export function plainText(text: string): string {
  return text
    .replace(/\u001b\[[0-9;?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)/g, "")
    .replace(/(?!\t)[\u0000-\u001f\u007f-\u009f]/g, "·");
}
