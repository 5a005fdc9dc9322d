import assert from "node:assert/strict";
import { test } from "node:test";
import type { CallOptions } from "../../client/cri-client.ts";
import type { Server } from "../server/session.ts";
import { whilePaused } from "./checkpoint.ts";

/** A server on which calls with an aborted signal fail, as all do. */
function serverAfter(ctrlC: AbortController, calls: string[], resumes: boolean) {
  const answer = async (name: string, { signal }: CallOptions = {}): Promise<object> => {
    await Promise.resolve();
    signal?.throwIfAborted();
    calls.push(name);
    if (name === "resume" && !resumes) throw new Error("the server has gone");
    return {};
  };
  const checkpoints = {
    pause: (_: object, options?: CallOptions) => answer("pause", options),
    resume: (_: object, options?: CallOptions) => answer("resume", options),
  };
  const limit = (): CallOptions => ({ signal: ctrlC.signal });
  return { client: { checkpoints, runtime: {} }, limit } as unknown as Pick<
    Server,
    "client" | "limit"
  >;
}

test("after Ctrl-C, what davit checkpoint --stop has paused runs on, or the error says that it does not", async () => {
  for (const resumes of [true, false]) {
    const ctrlC = new AbortController();
    const calls: string[] = [];
    const server = serverAfter(ctrlC, calls, resumes);
    const interrupted = whilePaused(server, { id: "3f2a".repeat(16), running: [] }, () => {
      ctrlC.abort(new Error("interrupted"));
      return Promise.reject(ctrlC.signal.reason as Error);
    });
    await assert.rejects(
      interrupted,
      resumes
        ? /^Error: interrupted$/
        : /interrupted; it is still paused \(the server has gone\): run davit resume 3f2a3f2a3f2a/,
    );
    assert.deepEqual(calls, ["pause", "resume"]);
  }
});
