import { RuntimeError } from "../../base/errors.ts";

/** A `failed-precondition` of an image that exceeds a limit: it is refused again, however often it is pulled. */
export class TooLarge extends RuntimeError {
  constructor(message: string) {
    super("failed-precondition", message);
    this.name = "TooLarge";
  }
}

/** Whether an error is a TooLarge, or wraps one. A registry's `failed-precondition` is none. */
export function isTooLarge(error: unknown): boolean {
  for (let each = error; each instanceof Error; each = each.cause) {
    if (each instanceof TooLarge) return true;
  }
  return false;
}
