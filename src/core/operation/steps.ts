import { messageOf } from "../../base/errors.ts";

/** A part of an operation beside its stages, for example a run of another program, or a download. */
export interface Step {
  /** In words: "OCI runtime create". */
  readonly name: string;
  readonly attributes: Readonly<Record<string, string | number>>;
}

/** What is known at the end of a step. */
interface StepOutcome {
  readonly attributes?: Readonly<Record<string, string | number>>;
  /** Why it failed. */
  readonly error?: string;
}

/** Ends a step. Later calls do nothing. */
export type StepEnd = (outcome?: StepOutcome) => void;

/** Called where a step begins, in the context of its operation. Undefined if nobody observes it. Must not throw. */
export type StepObserver = (step: Step) => StepEnd | undefined;

/** Ends the step when the promise is settled, which is returned. */
export async function endingStep<T>(end: StepEnd | undefined, work: Promise<T>): Promise<T> {
  if (end === undefined) return work;
  try {
    const result = await work;
    end();
    return result;
  } catch (error) {
    end({ error: messageOf(error) });
    throw error;
  }
}
