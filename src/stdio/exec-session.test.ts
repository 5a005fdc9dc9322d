import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { describe, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";

import { isKind, RuntimeError } from "../base/errors.ts";
import { silentLogger } from "../base/logger.ts";
import { testOperation } from "../core/operation/testing/operation.ts";
import { TestClient } from "../core/streaming/testing/test-client.ts";
import {
  collectOutput,
  endCommand,
  type ExecCommand,
  explainEnd,
  streamOutput,
} from "./exec-session.ts";
import { programFailure } from "./program-failure.ts";
import { Pump } from "./pump.ts";

/** A command that ends when `end` is called. */
class FakeCommand implements ExecCommand {
  readonly stdout = new PassThrough();
  readonly stderr = new PassThrough();
  readonly calls: string[] = [];
  readonly #end = Promise.withResolvers<undefined>();

  end(error?: Error): void {
    if (error === undefined) this.#end.resolve(undefined);
    else this.#end.reject(error);
  }

  async ended(): Promise<void> {
    await this.#end.promise;
  }

  exitCode(stderr: Uint8Array): Promise<number> {
    this.calls.push(`exit code with "${String(stderr)}"`);
    return Promise.resolve(5);
  }

  async kill(): Promise<void> {
    this.calls.push("kill");
    await Promise.resolve();
  }

  async hangUp(): Promise<void> {
    this.calls.push("hang up");
    await Promise.resolve();
  }
}

describe("collectOutput()", () => {
  test("returns both streams and the exit code", async () => {
    const command = new FakeCommand();
    const result = collectOutput(command, command, testOperation());
    command.stdout.end("out");
    command.stderr.end("err");
    command.end();
    const { stdout, stderr, exitCode } = await result;
    assert.deepEqual([String(stdout), String(stderr), exitCode], ["out", "err", 5]);
    assert.deepEqual(command.calls, ['exit code with "err"']);
  });

  test("does not wait for a stream that a background process has open", async () => {
    const command = new FakeCommand();
    const result = collectOutput(command, command, testOperation());
    command.stdout.write("out");
    command.end();
    assert.equal(String((await result).stdout), "out");
  });

  test("kills the command when it fails", async () => {
    const command = new FakeCommand();
    const result = collectOutput(command, command, testOperation());
    command.end(new Error("the time is over"));
    await assert.rejects(result, /the time is over/);
    assert.deepEqual(command.calls, ["kill"]);
  });
});

describe("streamOutput()", () => {
  test("sends all output to the client, and passes withheld output to exitCode()", async () => {
    const command = new FakeCommand();
    const client = new TestClient();
    const pumps = [
      new Pump(command.stdout, client.stdout),
      new Pump(command.stderr, client.stderr, () => Promise.resolve(false)),
    ];
    const end = streamOutput(command, { pumps, streams: client.streams() }, testOperation());
    command.stdout.end("out");
    command.stderr.end("the reason");
    command.end();
    assert.deepEqual(await end, { exitCode: 5 });
    assert.deepEqual([client.stdout.text, client.stderr.text], ["out", ""]);
    assert.deepEqual(command.calls, ['exit code with "the reason"']);
    assert.ok(client.stdout.writableFinished && client.stderr.writableFinished);
  });

  test("hangs up the command when its client is gone", async () => {
    const command = new FakeCommand();
    const streams = new TestClient().streams();
    const end = streamOutput(command, { pumps: [], streams }, testOperation());
    command.end(new Error("the client is gone"));
    await assert.rejects(end, /the client is gone/);
    assert.deepEqual(command.calls, ["hang up"]);
  });
});

describe("endCommand()", () => {
  const run = async (outcomes: readonly boolean[], runs = () => true) => {
    let attempts = 0;
    const warnings: string[] = [];
    const log = { ...silentLogger, warn: (text: string) => void warnings.push(text) };
    const deps = { operation: testOperation(), log };
    await endCommand({ name: "the command", runs }, deps, () => {
      const succeeds = outcomes[attempts++] ?? assert.fail("one attempt too many");
      return succeeds ? Promise.resolve() : Promise.reject(new Error("it does not die"));
    });
    return { attempts, warnings: warnings.length };
  };

  test("tries twice, and logs each failure", async () => {
    assert.deepEqual(await run([true]), { attempts: 1, warnings: 0 });
    assert.deepEqual(await run([false, true]), { attempts: 2, warnings: 1 });
    assert.deepEqual(await run([false, false]), { attempts: 2, warnings: 2 });
  });

  test("does nothing for a command that has ended", async () => {
    assert.deepEqual(await run([], () => false), { attempts: 0, warnings: 0 });
  });
});

describe("explainEnd()", () => {
  const never = new Promise<never>(() => undefined);
  const failing = (kind: "unknown" | "not-found" | "invalid-argument") => () =>
    Promise.reject(new RuntimeError(kind, "no such cgroup"));

  test("reports the container's end as the reason of a runtime's failure", async () => {
    for (const container of [
      { ended: Promise.resolve(), killed: false },
      { ended: never, killed: true },
    ]) {
      for (const kind of ["unknown", "not-found"] as const) {
        await assert.rejects(
          explainEnd(container, "run command", failing(kind)),
          (error) =>
            isKind(error, "failed-precondition") && /run command.*ended/.test(String(error)),
        );
      }
    }
  });

  test("does not wait for the end of a container that does not have the program", async () => {
    const failure = programFailure("x", "executable file `x` not found in $PATH");
    const fail = () => Promise.reject(failure ?? assert.fail());
    const endsLater = { ended: delay(50), killed: false };
    await assert.rejects(explainEnd(endsLater, "run command", fail), /exec: "x": executable/);
    const ended = { ended: Promise.resolve(), killed: false };
    await assert.rejects(explainEnd(ended, "run command", fail), { kind: "failed-precondition" });
  });

  test("leaves other failures, and those of a container that runs, unchanged", async () => {
    const ended = { ended: Promise.resolve(), killed: true };
    await assert.rejects(explainEnd(ended, "update", failing("invalid-argument")), (error) =>
      isKind(error, "invalid-argument"),
    );
    const runs = { ended: delay(300), killed: false };
    await assert.rejects(explainEnd(runs, "update", failing("unknown")), /^RuntimeError: no such/);
    assert.equal(await explainEnd(runs, "update", () => Promise.resolve(3)), 3);
  });
});
