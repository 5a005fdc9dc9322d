import type { Check } from "../check.ts";

/** A check that times out, one that throws, and one whose fix fails. */
export const failingChecks: Readonly<Record<string, Pick<Check, "deadlineMs" | "examine">>> = {
  "doctor.late": { deadlineMs: 5, examine: () => new Promise(() => undefined) },
  "doctor.failed": { examine: () => Promise.reject(new Error("read /proc: EIO")) },
  "doctor.fix-failed": {
    examine: () =>
      Promise.resolve([
        {
          id: "failing.broken",
          severity: "error",
          why: "",
          found: "broken",
          fix: { text: "repair it", apply: () => Promise.reject(new Error("EROFS")) },
        },
      ]),
  },
};
