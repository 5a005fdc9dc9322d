import type { Check } from "../check.ts";

/** A check that does not end in its time, one that fails, and one whose fix fails. */
export const oddChecks: Readonly<Record<string, Pick<Check, "deadlineMs" | "examine">>> = {
  "doctor.late": { deadlineMs: 5, examine: () => new Promise(() => undefined) },
  "doctor.failed": { examine: () => Promise.reject(new Error("it is all wrong")) },
  "doctor.fix-failed": {
    examine: () =>
      Promise.resolve([
        {
          id: "odd.broken",
          severity: "error",
          why: "",
          found: "broken",
          fix: { text: "fix it", apply: () => Promise.reject(new Error("no way")) },
        },
      ]),
  },
};
