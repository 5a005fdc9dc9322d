/** How long tests wait: deadlines are for a machine of usual speed, and some machines are emulated. */

const factor = Number(process.env["DAVIT_TEST_PATIENCE"] ?? 1);
if (!(factor >= 1)) throw new Error("DAVIT_TEST_PATIENCE must be a number from 1 upward");

/**
 * A deadline in milliseconds, times DAVIT_TEST_PATIENCE, which is 1 unless given. For deadlines only:
 * what is awaited ends a wait as soon as it is there.
 */
export function patient(ms: number): number {
  return ms * factor;
}
