import { gracePeriodAnnotation } from "../../manifest/index.ts";

// The default of docker stop.
const defaultGraceSeconds = 10;

/** The grace period of a container in seconds: `requested`, else that of its manifest. */
export function stopGrace(
  annotations: Readonly<Record<string, string>>,
  requested: number | undefined,
): number {
  if (requested !== undefined) return requested;
  const text = annotations[gracePeriodAnnotation] ?? "";
  return /^\d{1,9}$/.test(text) ? Number(text) : defaultGraceSeconds;
}
