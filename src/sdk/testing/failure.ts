import assert from "node:assert/strict";
import { DavitError } from "../index.ts";

/** What a call throws. */
export async function failure(work: PromiseLike<unknown>): Promise<DavitError> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof DavitError, String(error));
    return error;
  }
  throw new Error("nothing was thrown");
}
