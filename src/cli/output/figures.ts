/** A number of bytes in powers of 1000: 512B, 4.3kB, 12.5MB. */
export function formatBytes(bytes: number | bigint): string {
  let value = Number(bytes);
  for (const unit of ["B", "kB", "MB", "GB", "TB"]) {
    if (value < 999.5 || unit === "TB") {
      return unit === "B" || value >= 99.5
        ? `${Math.round(value)}${unit}`
        : `${value.toFixed(1)}${unit}`;
    }
    value /= 1000;
  }
  return "";
}

/** A duration: 0.4 ms, 12 ms, 3.2 s, 5 min, 2 h, 3 days. */
export function formatDuration(ms: number): string {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** The age of a CRI timestamp, without fractions: "12 s ago"; "" for 0. */
export function formatAge(timeNs: bigint, nowMs: number): string {
  if (timeNs <= 0n) return "";
  const ms = Math.max(0, nowMs - Number(timeNs / 1_000_000n));
  return ms < 60_000 ? `${Math.floor(ms / 1000)} s ago` : `${formatDuration(ms)} ago`;
}

/** The first 12 characters of an id, without the algorithm of a digest. */
export function shortId(id: string): string {
  return id.replace(/^sha256:/, "").slice(0, 12);
}

/** A CRI timestamp as local time with milliseconds: "2026-01-31 13:00:00.250". */
export function formatLocalTime(timeNs: bigint): string {
  const ms = Number(timeNs / 1_000_000n);
  // toISOString() prints UTC: shift by the offset, which is in minutes west of UTC.
  const local = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000);
  return local.toISOString().replace("T", " ").replace("Z", "");
}
