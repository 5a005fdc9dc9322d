import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test, type TestContext } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import type { ClientStreams } from "../../core/streaming/index.ts";
import { stopContainer } from "../container/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import type { CommandInput } from "./command-inputs.ts";
import type { CommandOutput } from "./command-outputs.ts";
import { type CommandRequest, runCommand } from "./command-session.ts";

const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const stdin = (value: string): CommandInput => ({ kind: "stdin", bytes: text(value) });
const size = (width: number, height: number): CommandInput => ({
  kind: "size",
  size: { width, height },
});
const signal = (name: string): CommandInput => ({ kind: "signal", signal: name });

/** A running container, and runs of commands in it. */
async function setUp(t: TestContext, talk?: (streams: ClientStreams) => Promise<void>) {
  const engine = new FakeEngine(t);
  const pod = await engine.run();
  const id = await engine.start(pod);
  const { runtime } = engine.world;
  runtime.result = { ...runtime.result, exitCode: 4 };
  runtime.talk = talk;
  const run = (
    changes: Partial<CommandRequest> = {},
    inputs: Iterable<CommandInput> | AsyncIterable<CommandInput> = [],
    caller = never,
  ) => {
    const request = {
      containerId: id.slice(0, 12),
      command: ["cat"],
      envs: [],
      terminal: undefined,
      stdin: false,
      ...changes,
    };
    return runCommand(engine.containers, request, messages(inputs), caller);
  };
  return { engine, id, runtime, run };
}

async function* messages(
  inputs: Iterable<CommandInput> | AsyncIterable<CommandInput>,
): AsyncGenerator<CommandInput> {
  yield* inputs;
}

/** The kinds of outputs, with their text. */
async function said(outputs: AsyncIterable<CommandOutput>): Promise<readonly string[]> {
  const all: string[] = [];
  for await (const output of outputs) {
    if ("bytes" in output) all.push(`${output.kind} ${Buffer.from(output.bytes).toString()}`);
    else all.push(output.kind === "end" ? `end ${output.exitCode}` : output.kind);
  }
  return all;
}

async function readAll(stream: ClientStreams["stdin"]): Promise<string> {
  let all = "";
  for await (const chunk of stream ?? []) all += String(chunk);
  return all;
}

describe("runCommand()", () => {
  test("says that the command runs, then its output, and its end last", async (t) => {
    const { run, runtime } = await setUp(t, async ({ stdin: input, stdout, stderr }) => {
      stdout?.write(await readAll(input));
      stderr?.write("err");
      await settle();
      stdout?.write("late");
    });
    const inputs = [stdin("one "), stdin(""), stdin("two"), { kind: "stdin-end" } as const];
    const found = await said(run({ stdin: true }, inputs));
    assert.deepEqual(found, ["started", "stdout one two", "stderr err", "stdout late", "end 4"]);
    assert.equal(runtime.command?.client?.terminal, false);
  });

  test("gives no stdin unless it is asked for, and no stderr with a terminal", async (t) => {
    const seen: ClientStreams[] = [];
    const { run } = await setUp(t, async (streams) => {
      seen.push(streams);
      await Promise.resolve();
    });
    await said(run());
    await said(run({ terminal: { width: 80, height: 24 }, stdin: true }, [{ kind: "stdin-end" }]));
    assert.deepEqual(
      seen.map((streams) => [streams.stdin !== undefined, streams.stderr !== undefined]),
      [
        [false, true],
        [true, false],
      ],
    );
  });

  test("passes the user, the directory and the variables on", async (t) => {
    const { run, runtime } = await setUp(t);
    const envs = [{ key: "A", value: text("b") }];
    await said(run({ user: "app:5", workingDir: "/srv", envs }));
    const { user, cwd, env } = runtime.command?.process as unknown as Record<string, unknown>;
    assert.deepEqual(user, { uid: 1000n, gid: 5n, supplementalGroups: [2000n] });
    assert.deepEqual([cwd, env], ["/srv", ["A=b"]]);
  });

  test("passes sizes and signals on, in their order", async (t) => {
    const sizes: unknown[] = [];
    const numbers: number[] = [];
    const { run } = await setUp(t, async (streams) => {
      const reading = (async () => {
        for await (const one of streams.sizes) sizes.push(one);
      })();
      for await (const one of streams.signals ?? []) if (numbers.push(one) === 3) break;
      await Promise.race([reading, settle()]);
    });
    const inputs = [signal("SIGINT"), size(100, 30), signal("usr1"), signal("15")];
    await said(run({ terminal: { width: 80, height: 24 } }, inputs));
    assert.deepEqual(numbers, [2, 10, 15]);
    assert.deepEqual(sizes, [
      { width: 80, height: 24 },
      { width: 100, height: 30 },
    ]);
  });

  for (const [what, changes, inputs, message] of [
    ["stdin without one", {}, [stdin("x")], /stdin was sent, but the command has no stdin/],
    ["an end without stdin", {}, [{ kind: "stdin-end" }], /has no stdin/],
    [
      "stdin after its end",
      { stdin: true },
      [{ kind: "stdin-end" }, stdin("x")],
      /sent after the end of stdin/,
    ],
    ["a size without a terminal", {}, [size(80, 24)], /the command has no terminal/],
    ["a size of 0", { terminal: { width: 80, height: 24 } }, [size(0, 24)], /must be 1 to 65535/],
    [
      "a size beyond the kernel's",
      { terminal: { width: 80, height: 24 } },
      [size(80, 65_536)],
      /got 80 and 65536/,
    ],
    ["an unknown signal", {}, [signal("SIGNOTHING")], /there is no signal "SIGNOTHING"/],
    ["signal 0", {}, [signal("0")], /there is no signal "0"/],
  ] as const satisfies readonly (readonly [
    string,
    Partial<CommandRequest>,
    readonly CommandInput[],
    RegExp,
  ])[]) {
    test(`ends the command for ${what}`, async (t) => {
      const { run, runtime } = await setUp(t);
      const hang = runtime.trouble.hang("exec");
      const rejected = assert.rejects(said(run(changes, inputs)), {
        kind: "invalid-argument",
        message,
      });
      await hang.arrived;
      await rejected;
    });
  }

  test("rejects invalid requests before anything runs", async (t) => {
    const { engine, id, run, runtime } = await setUp(t);
    const refused = async (changes: Partial<CommandRequest>, message: RegExp): Promise<void> => {
      await assert.rejects(said(run(changes)), { kind: "invalid-argument", message });
      assert.equal(runtime.command, undefined);
    };
    await refused({ command: [] }, /command is empty/);
    await refused({ workingDir: "tmp" }, /"tmp" is not an absolute path/);
    await refused({ user: ":5" }, /must be USER, UID, USER:GROUP or UID:GID, got ":5"/);
    await refused({ user: "a:b:c" }, /must be USER/);
    await refused({ user: "nobody" }, /does not have it/);
    await refused({ envs: [{ key: "A=B", value: text("") }] }, /a key cannot hold/);
    await refused({ terminal: { width: 0, height: 1 } }, /must be 1 to 65535/);
    await stopContainer(engine.containers, id, 0n, never);
    await assert.rejects(said(run()), { kind: "failed-precondition", message: /is exited/ });
    await assert.rejects(said(run({ containerId: "none" })), { kind: "not-found" });
  });

  test("a client that ends its messages before its stdin is gone", async (t) => {
    const { run, runtime } = await setUp(t);
    const aborted = { kind: "aborted", message: /without the end of stdin/ };
    runtime.trouble.hang("exec");
    await assert.rejects(said(run({ stdin: true }, [stdin("half")])), aborted);
  });

  test("ends the command when the caller leaves, and does not end its stdin before", async (t) => {
    const ends: string[] = [];
    const caller = new AbortController();
    const { run } = await setUp(t, async (streams) => {
      streams.stdin?.on("end", () => ends.push("end")).on("close", () => ends.push("close"));
      streams.stdin?.resume();
      caller.abort(new RuntimeError("canceled", "it left"));
      await settle();
      assert.deepEqual(ends, []);
      throw new RuntimeError("canceled", "the operation was aborted");
    });
    const waiting = (async function* (): AsyncGenerator<CommandInput> {
      await once(caller.signal, "abort");
      throw new RuntimeError("canceled", "it left");
    })();
    await assert.rejects(said(run({ stdin: true }, waiting, caller.signal)), { kind: "canceled" });
  });

  test("ends the command when the caller reads no further", async (t) => {
    const left = Promise.withResolvers<undefined>();
    const { run } = await setUp(t, async ({ stdout }) => {
      stdout?.write("out");
      stdout?.once("close", () => {
        left.resolve(undefined);
      });
      await left.promise;
    });
    for await (const output of run()) if (output.kind === "stdout") break;
    await left.promise;
  });

  test("takes no more output than the caller reads", async (t) => {
    let written = 0;
    const { run } = await setUp(t, async ({ stdout }) => {
      for (let at = 0; at < 100; at++) {
        const ready = stdout?.write(Buffer.alloc(64 * 1024));
        written += 1;
        if (ready === false && stdout !== undefined) await once(stdout, "drain");
      }
    });
    let bytes = 0;
    for await (const output of run()) {
      if (!("bytes" in output)) continue;
      bytes += output.bytes.length;
      await settle();
      assert.ok(written * 64 * 1024 <= bytes + 64 * 1024, `${written} written, ${bytes} read`);
    }
    assert.equal(bytes, 100 * 64 * 1024);
  });

  test("reads no more input than the command does", async (t) => {
    let sent = 0;
    const release = Promise.withResolvers<undefined>();
    const { run } = await setUp(t, async (streams) => {
      await release.promise;
      assert.equal((await readAll(streams.stdin)).length, 50 * 64 * 1024);
    });
    const inputs = (function* (): Generator<CommandInput> {
      for (; sent < 50; sent++) yield { kind: "stdin", bytes: new Uint8Array(64 * 1024) };
      yield { kind: "stdin-end" };
    })();
    const all = said(run({ stdin: true }, inputs));
    await settle();
    assert.ok(sent <= 2, `${sent} messages were read`);
    release.resolve(undefined);
    assert.deepEqual(await all, ["started", "end 4"]);
  });

  test("the failure of the start is the error, and nothing is answered before", async (t) => {
    const { run, runtime } = await setUp(t);
    runtime.trouble.fail("exec", new RuntimeError("unknown", "OCI runtime exec: no such file"), 1);
    const outputs: string[] = [];
    await assert.rejects(
      (async () => {
        for await (const { kind } of run()) outputs.push(kind);
      })(),
      { kind: "unknown", message: /OCI runtime exec: no such file/ },
    );
    assert.deepEqual(outputs, []);
  });
});
