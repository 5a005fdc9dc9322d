import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Rollback } from "./rollback.ts";

const never = (): Promise<void> => new Promise(() => undefined);

/** AbortSignal.timeout() does not keep the process alive, as the daemon's sockets do. */
function awake(): Disposable {
  const timer = setInterval(() => undefined, 1_000);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

describe("Rollback", () => {
  test("undoes newest first, one step after the other", async () => {
    const log: string[] = [];
    {
      await using undo = new Rollback();
      for (const step of ["record", "netns", "network"]) {
        undo.defer(step, async () => {
          log.push(`${step} begins`);
          await new Promise(setImmediate);
          log.push(`${step} ends`);
        });
      }
    }
    assert.deepEqual(log, [
      "network begins",
      "network ends",
      "netns begins",
      "netns ends",
      "record begins",
      "record ends",
    ]);
  });

  test("undoes nothing after commit() but later steps", async () => {
    const log: string[] = [];
    {
      await using undo = new Rollback();
      undo.defer("a", () => log.push("a"));
      undo.commit();
      undo.defer("b", () => log.push("b"));
    }
    assert.deepEqual(log, ["b"]);
  });

  test("tries a step again and reports each failure", async () => {
    const retries: string[] = [];
    let tries = 0;
    {
      await using undo = new Rollback({
        onRetry: (what, error) => retries.push(`${what}: ${String(error)}`),
        onStuck: () => assert.fail("it is not stuck"),
      });
      undo.defer("delete netns", () => {
        tries++;
        if (tries < 3) throw new Error(`busy ${tries}`);
      });
    }
    assert.equal(tries, 3);
    assert.deepEqual(retries, ["delete netns: Error: busy 1", "delete netns: Error: busy 2"]);
  });

  test("does not run the steps below a stuck one, and calls onStuck once", async () => {
    const log: string[] = [];
    const stuck: unknown[] = [];
    const failure = new Error("the plugin fails");
    {
      await using undo = new Rollback({
        tries: 2,
        onStuck: async (what, error) => {
          await new Promise(setImmediate);
          stuck.push([what, error]);
        },
      });
      undo.defer("delete the record", () => log.push("record"));
      undo.defer("remove the network", () => Promise.reject(failure));
      undo.defer("end the holder", () => log.push("holder"));
    }
    assert.deepEqual(log, ["holder"]);
    assert.deepEqual(stuck, [["remove the network", failure]]);
  });

  test("aborts the signal of a hanging step at the deadline", async () => {
    using _awake = awake();
    const stuck: string[] = [];
    let aborted = false;
    {
      await using undo = new Rollback({
        totalMs: 20,
        onStuck: (what, error) => {
          stuck.push(`${what}: ${(error as Error).name}`);
        },
      });
      undo.defer("below", () => assert.fail("it is below a stuck step"));
      undo.defer("remove the network", (signal) => {
        signal.addEventListener("abort", () => {
          aborted = true;
        });
        return never();
      });
    }
    assert.deepEqual(stuck, ["remove the network: TimeoutError"]);
    assert.equal(aborted, true);
  });

  test("never throws: the caller gets the error of the request, not that of the cleanup", async () => {
    const retries: string[] = [];
    const request = async (): Promise<void> => {
      await using undo = new Rollback({
        tries: 1,
        onRetry: (what) => retries.push(what),
        onStuck: () => {
          throw new Error("onStuck failed");
        },
      });
      undo.defer("a", () => {
        throw new Error("undo fails");
      });
      throw new Error("the request fails");
    };
    await assert.rejects(request(), { name: "Error", message: "the request fails" });
    assert.deepEqual(retries, ["a", 'hand over "a"']);
  });

  test("a second disposal does nothing", async () => {
    let undone = 0;
    const undo = new Rollback();
    undo.defer("a", () => undone++);
    await undo[Symbol.asyncDispose]();
    await undo[Symbol.asyncDispose]();
    assert.equal(undone, 1);
  });
});
