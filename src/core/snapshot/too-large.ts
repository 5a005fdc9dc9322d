import { RuntimeError } from "../../base/errors.ts";

/** A `failed-precondition` of an image that exceeds a limit. Another pull of it fails, too. */
export class TooLarge extends RuntimeError {
  constructor(message: string) {
    super("failed-precondition", message);
    this.name = "TooLarge";
  }
}

/** True for a TooLarge and for an error that wraps one, but not for a registry's `failed-precondition`. */
export function isTooLarge(error: unknown): boolean {
  for (let each = error; each instanceof Error; each = each.cause) {
    if (each instanceof TooLarge) return true;
  }
  return false;
}
