import assert from "node:assert/strict";
import { DavitError } from "../index.ts";

/** What a call throws: an error of this SDK, or of the built one that is given. */
export async function failure(
  work: PromiseLike<unknown>,
  ErrorClass: typeof DavitError = DavitError,
): Promise<DavitError> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof ErrorClass, String(error));
    return error;
  }
  throw new Error("nothing was thrown");
}
